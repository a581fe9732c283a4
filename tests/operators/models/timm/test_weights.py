"""Files of weights as they are found: with heads, of their authors' names, of training, and with tensors amiss."""

import hashlib
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
from safetensors.torch import save_file
from timm.models import save_for_hf

from operators.models.load import describe, load_image_embedder
from operators.models.runtime import Runtime
from operators.models.spec import ModelError, parse_model_name
from operators.pixels.preprocess import PreprocessOverrides

State = dict[str, torch.Tensor]


def network(name: str, **options: Any) -> Any:
    torch.manual_seed(3)
    return timm.create_model(name, **options).eval()


def saved(state: State, path: Path) -> Path:
    save_file({key: tensor.contiguous() for key, tensor in state.items()}, path)
    return path


def embedded(name: str, path: Path, sha256: str | None = None) -> np.ndarray:
    model = describe(parse_model_name(f"timm:{name}@{path}", sha256))
    return load_image_embedder(model, Runtime()).embed(pixels(model.preprocess.height))


def pixels(size: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (2, size, size, 3), np.uint8)


def plain(module: Any, size: int | None = None) -> np.ndarray:
    """The vectors of a classifier's network: it is what is left when the classifier is taken off."""
    module.reset_classifier(0)
    config = timm.data.resolve_model_data_config(module)
    x = torch.from_numpy(pixels(size or config["input_size"][1])).permute(0, 3, 1, 2) / 255
    mean, std = (torch.tensor(config[key]).view(1, 3, 1, 1) for key in ("mean", "std"))
    with torch.inference_mode():
        vectors: np.ndarray = module((x - mean) / std).numpy()
    return vectors


def close(ours: np.ndarray, theirs: np.ndarray) -> bool:
    return ours.shape == theirs.shape and np.allclose(ours, theirs, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ["test_vit", "test_convnext", "levit_128s", "crossvit_9_240"])
def test_a_classifier_is_dropped_with_what_belongs_to_it(name: str, tmp_path: Path) -> None:
    """LeViT's has a batch norm of its own; CrossViT has two, and a filter of its files that takes the tensors alone."""
    module = network(name)
    path = saved(module.state_dict(), tmp_path / "w.safetensors")
    assert close(embedded(name, path), plain(module))


def test_a_classifier_of_other_classes_is_dropped(tmp_path: Path) -> None:
    module = network("test_vit", num_classes=7)
    path = saved(module.state_dict(), tmp_path / "w.safetensors")
    assert close(embedded("test_vit", path), plain(module))


def test_the_names_that_authors_gave_are_timms_own(tmp_path: Path) -> None:
    """ConvNeXt as its authors published it."""
    module = network("convnext_atto")
    rules = [
        (r"^head\.norm", "norm"),
        (r"^head\.fc", "head"),
        (r"^stem\.", "downsample_layers.0."),
        (r"^stages\.(\d)\.downsample\.", r"downsample_layers.\1."),
        (r"^stages\.(\d)\.blocks\.", r"stages.\1."),
        (r"\.conv_dw\.", ".dwconv."),
        (r"\.mlp\.fc(\d)\.", r".pwconv\1."),
    ]
    theirs = {}
    for key, tensor in module.state_dict().items():
        for pattern, name in rules:
            key = re.sub(pattern, name, key)
        # Their pointwise convolutions are matrices, timm's small models have 1 x 1 kernels.
        theirs[key] = tensor.flatten(1) if ".pwconv" in key and tensor.ndim == 4 else tensor
    assert "downsample_layers.1.0.weight" in theirs
    path = saved(theirs, tmp_path / "w.safetensors")
    assert close(embedded("convnext_atto", path), plain(module))


def test_a_training_checkpoint_gives_its_averaged_weights(tmp_path: Path) -> None:
    module = network("test_vit")
    zeros = {key: torch.zeros_like(tensor) for key, tensor in module.state_dict().items()}
    path = tmp_path / "checkpoint.pth"
    prefixed = {f"module.{key}": tensor for key, tensor in module.state_dict().items()}
    torch.save({"state_dict": zeros, "state_dict_ema": prefixed, "epoch": 3}, path)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    assert close(embedded("test_vit", path, digest), plain(module))


def test_tensors_amiss_are_named(tmp_path: Path) -> None:
    state = network("test_vit").state_dict()
    state["blocks.0.norm9.weight"] = torch.zeros(1)
    state["norm.bias"] = torch.zeros(3)
    del state["blocks.1.attn.qkv.weight"]
    with pytest.raises(ModelError) as error:
        describe(parse_model_name(f"timm:test_vit@{saved(state, tmp_path / 'w.safetensors')}"))
    for says in ("blocks.0.norm9.weight", "blocks.1.attn.qkv.weight", "norm.bias is (3,), expected (64,)"):
        assert says in str(error.value)


def test_published_weights_that_lack_their_final_norm_get_a_fresh_one(tmp_path: Path) -> None:
    """FCMAE's, which is how timm itself has them; whatever else is lacking is still an error."""
    name = "convnextv2_atto.fcmae"
    module = network(name)
    state = {key: tensor for key, tensor in module.state_dict().items() if not key.startswith("head.")}
    assert close(embedded(name, saved(state, tmp_path / "w.safetensors")), plain(module))
    del state["stages.1.blocks.0.conv_dw.weight"]
    with pytest.raises(ModelError, match=r"missing stages\.1\.blocks\.0\.conv_dw\.weight$"):
        describe(parse_model_name(f"timm:{name}@{saved(state, tmp_path / 'less.safetensors')}"))


def test_a_folder_says_how_its_network_is_built(tmp_path: Path) -> None:
    """As timm saves one of a shape of its own, with a normalisation of its own; a worker needs the weights alone."""
    shape = {"embed_dim": 48, "num_heads": 3, "img_size": 96}
    module = network("test_vit", **shape, pretrained_cfg_overlay={"mean": (0.4, 0.5, 0.6), "input_size": (3, 96, 96)})
    save_for_hf(module, tmp_path, model_args=shape, safe_serialization=True)
    model = describe(parse_model_name(f"timm:local-dir:{tmp_path}"))
    assert (model.dim, model.preprocess.height, model.preprocess.mean) == (48, 96, (0.4, 0.5, 0.6))
    (tmp_path / "config.json").unlink()
    assert close(load_image_embedder(model, Runtime()).embed(pixels(96)), plain(module))
    with pytest.raises(ModelError, match=r"config\.json is not there, or none of timm's"):
        describe(parse_model_name(f"timm:local-dir:{tmp_path}"))


def test_a_folder_of_another_size_is_resampled(tmp_path: Path) -> None:
    module = network("test_vit", img_size=96)
    save_for_hf(module, tmp_path, model_args={"img_size": 96}, safe_serialization=True)
    spec = parse_model_name(f"timm:local-dir:{tmp_path}")
    model = describe(spec.model_copy(update={"preprocess": PreprocessOverrides(image_size=192)}))
    ours = load_image_embedder(model, Runtime()).embed(pixels(192))
    assert close(ours, plain(timm.create_model(f"local-dir:{tmp_path}", pretrained=True, img_size=192).eval(), 192))
