"""The text tower for queries, with the model's own tokenizer and context length."""

import os
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from open_clip.tokenizer import DEFAULT_CONTEXT_LENGTH, HFTokenizer, SimpleTokenizer

from operators.base.errors import clean_message
from operators.models.open_clip.architecture import FOLDER
from operators.models.spec import ModelError, ModelSpec
from operators.models.weights.hub import check_reached_for

Tokenizer = Callable[[list[str]], torch.Tensor]
"""From N texts to (N, context length) token ids."""


class OpenClipTexts:
    """`tower` maps (N, context length) token ids to (N, dim)."""

    def __init__(self, tower: torch.nn.Module, tokenizer: Tokenizer) -> None:
        self.tower = tower.eval().requires_grad_(False)
        self.tokenizer = tokenizer

    def embed(self, texts: list[str]) -> np.ndarray:
        with torch.inference_mode():
            out = self.tower(self.tokenizer(texts))
            vectors: np.ndarray = (out[0] if isinstance(out, tuple) else out).float().numpy()
        return vectors


def tokenizer_of(spec: ModelSpec, config: dict[str, Any]) -> Tokenizer:
    """The tokenizer that `open_clip.get_tokenizer` would give, from the configuration at hand. Raises `ModelError` when
    it cannot be fetched."""
    text = config["text_cfg"]
    length = text.get("context_length", DEFAULT_CONTEXT_LENGTH)
    options = text.get("tokenizer_kwargs") or {}
    name = text.get("hf_tokenizer_name")
    if not name:
        simple: Tokenizer = SimpleTokenizer(context_length=length, **options)
        return simple
    # A folder brings its tokenizer along, whatever name its configuration has for it.
    source = spec.architecture.removeprefix(FOLDER) if spec.architecture.startswith(FOLDER) else name
    try:
        if source == name and not os.path.isdir(name):
            check_reached_for(name, "tokenizer_config.json")
        tokenizer: Tokenizer = HFTokenizer(
            source, context_length=length, tokenizer_mode=text.get("tokenizer_mode"), **options
        )
    except Exception as error:
        raise ModelError(
            f"model {spec.name!r}: its tokenizer {source} could not be loaded ({clean_message(str(error))}). "
            + _what_to_do(source, source != name)
        ) from error
    return tokenizer


def _what_to_do(source: str, in_folder: bool) -> str:
    if in_folder:
        return "Put the tokenizer's files (tokenizer.json, tokenizer_config.json) into that folder"
    return (
        f"It is a repository of the Hugging Face hub, apart from the weights: with a network, "
        f"`hf download {source} --include 'tokenizer*' '*.json'` puts it into the cache (HF_HOME), "
        "which may be copied here; searching by --image or --id needs none"
    )
