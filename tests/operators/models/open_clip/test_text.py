"""Words through Pixlake against plain open_clip: towers, tokenizers and context lengths."""

import json
from copy import deepcopy
from pathlib import Path
from typing import Any

import huggingface_hub
import numpy as np
import open_clip
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast, RobertaConfig

from made.open_clip_folders import CONFIGS, PREPROCESS, build, plain, write_folder
from made.photographs import cosines
from operators.models.load import describe, load_image_embedder, load_text_embedder
from operators.models.open_clip.text import tokenizer_of
from operators.models.open_clip.towers import load_text_tower
from operators.models.runtime import Runtime
from operators.models.spec import ModelError, parse_model_name

TEXTS = ["a photograph of a cat", "red", "a cat " * 40]
"""The last is longer than any context."""


def encode(module: Any, tokens: torch.Tensor) -> np.ndarray:
    with torch.inference_mode():
        vectors: np.ndarray = module.encode_text(tokens).numpy()
    return vectors


def check(ours: str, theirs: str) -> None:
    model = describe(parse_model_name(ours))
    assert model.text
    vectors = load_text_embedder(model).embed(TEXTS)
    assert vectors.shape == (len(TEXTS), model.dim)
    module, _ = plain(theirs)
    assert cosines(vectors, encode(module, open_clip.get_tokenizer(theirs)(TEXTS))).min() >= 0.99999


@pytest.mark.parametrize("name", ["clip", "resnet", "siglip", "eva", "convnext", "coca"])
def test_words_are_those_of_plain_open_clip(name: str, tmp_path: Path) -> None:
    folder = f"local-dir:{write_folder(tmp_path, name)}"
    check(f"open_clip:{folder}", folder)


@pytest.mark.parametrize("architecture", ["ViT-S-32-alt", "MobileCLIP2-S0"])
def test_random_weights_have_a_text_tower_too(architecture: str) -> None:
    check(f"open_clip:{architecture}/random-3", architecture)


def test_words_and_images_are_in_one_space(tmp_path: Path) -> None:
    """The logits of the whole model are the products of the two embedders' vectors."""
    folder = write_folder(tmp_path, "clip")
    model = describe(parse_model_name(f"open_clip:local-dir:{folder}"))
    module, transform = plain(f"local-dir:{folder}")
    pixels = np.random.default_rng(0).integers(0, 256, (4, 64, 64, 3), np.uint8)
    images, words = load_image_embedder(model, Runtime()).embed(pixels), load_text_embedder(model).embed(TEXTS)
    ours = images / np.linalg.norm(images, axis=1, keepdims=True) @ (words / np.linalg.norm(words, axis=1)[:, None]).T
    to_tensor, normalise = transform.transforms[-2:]
    inputs = torch.stack([normalise(to_tensor(Image.fromarray(each))) for each in pixels])
    with torch.inference_mode():
        logits, _ = module.get_logits(inputs, open_clip.get_tokenizer(f"local-dir:{folder}")(TEXTS))
    np.testing.assert_allclose(ours * module.logit_scale.exp().item(), logits, atol=1e-4)


def own_tokenizer(folder: Path) -> None:
    words = ["<s>", "</s>", "<pad>", "<unk>", "a", "photograph", "of", "cat", "red"]
    tokenizer = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="<pad>", unk_token="<unk>")
    fast.save_pretrained(folder)


def test_a_folder_brings_its_own_tokenizer_and_text_tower(tmp_path: Path) -> None:
    own_tokenizer(tmp_path)
    # A folder of its own: transformers takes a config.json beside a tokenizer for the tokenizer's.
    bert = tmp_path / "bert"
    size = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
    RobertaConfig(vocab_size=16, max_position_embeddings=24, **size).save_pretrained(bert)
    config = deepcopy(CONFIGS["clip"]) | {"custom_text": True}
    config["text_cfg"] = {
        **{"hf_model_name": str(bert), "hf_model_pretrained": False, "hf_pooler_type": "mean_pooler"},
        **{"hf_tokenizer_name": "someone/no-such-repository", "context_length": 12},
    }
    written = {"model_cfg": config, "preprocess_cfg": PREPROCESS}
    (tmp_path / "open_clip_config.json").write_text(json.dumps(written))
    save_file(build(config).state_dict(), tmp_path / "open_clip_model.safetensors")
    assert tokenizer_of(parse_model_name(f"open_clip:local-dir:{tmp_path}"), config)(["a cat"]).tolist() == [
        [4, 7, *[2] * 10]
    ]
    check(f"open_clip:local-dir:{tmp_path}", f"local-dir:{tmp_path}")


@pytest.mark.parametrize("architecture", ["ViT-B-16-SigLIP", "ViT-B-32-SigLIP2-256"])
def test_a_tokenizer_that_cannot_be_fetched_is_named(architecture: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(ModelError) as error:
        tokenizer_of(
            parse_model_name(f"open_clip:{architecture}/webli"), open_clip.get_model_config(architecture) or {}
        )
    assert f"its tokenizer timm/{architecture} could not be loaded" in str(error.value)
    assert f"`hf download timm/{architecture}" in str(error.value)
    assert "\n" not in str(error.value)


def test_a_text_tower_whose_configuration_cannot_be_fetched_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    spec = parse_model_name("open_clip:roberta-ViT-B-32/random-0")
    config = deepcopy(CONFIGS["clip"]) | {"text_cfg": {"hf_model_name": "roberta-base"}}
    with pytest.raises(ModelError, match="from the configuration of the hub repository roberta-base"):
        load_text_tower(spec, config, None)


def test_a_folder_without_its_tokenizer_says_what_to_put_there(tmp_path: Path) -> None:
    config = {"text_cfg": {"hf_tokenizer_name": "bert-base-uncased"}}
    with pytest.raises(ModelError, match="Put the tokenizer's files"):
        tokenizer_of(parse_model_name(f"open_clip:local-dir:{tmp_path}"), config)


def test_a_file_of_the_image_tower_alone_has_no_words(tmp_path: Path) -> None:
    folder = write_folder(tmp_path, "clip")
    path = folder / "open_clip_model.safetensors"
    save_file({key: value for key, value in load_file(path).items() if key.startswith("visual.")}, path)
    model = describe(parse_model_name(f"open_clip:local-dir:{folder}"))
    assert not model.text
    with pytest.raises(ModelError, match="has no text tower: search this table by --image or --id"):
        load_text_embedder(model)


def test_a_text_tower_that_does_not_fit_names_its_tensors(tmp_path: Path) -> None:
    folder = write_folder(tmp_path, "clip")
    path = folder / "open_clip_model.safetensors"
    save_file({key: value for key, value in load_file(path).items() if key != "ln_final.bias"}, path)
    with pytest.raises(ModelError, match=r"missing text\.ln_final\.bias"):
        load_text_embedder(describe(parse_model_name(f"open_clip:local-dir:{folder}")))


def test_random_weights_of_coca_are_drawn_in_its_order(monkeypatch: pytest.MonkeyPatch) -> None:
    """Text first; the other models draw their image tower first."""
    monkeypatch.setitem(open_clip.factory._MODEL_CONFIGS, "small-coca", CONFIGS["coca"])
    check("open_clip:small-coca/random-3", "small-coca")
    model = describe(parse_model_name("open_clip:small-coca/random-3"))
    module, transform = plain("small-coca")
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8))
    with torch.inference_mode():
        theirs = module.encode_image(transform(image)[None]).numpy()
    assert cosines(load_image_embedder(model, Runtime()).embed(np.array(image)[None]), theirs).min() >= 0.99999
