"""A file of another library, which open_clip converts in the whole model alone: big_vision's arrays of a SigLIP."""

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import pytest
import timm
import torch

from made.open_clip_folders import TEXT, build
from made.photographs import cosines
from operators.models.load import describe, load_image_embedder, load_text_embedder
from operators.models.runtime import Runtime
from operators.models.spec import parse_model_name
from operators.pixels.preprocess import PreprocessOverrides

NAME = "pixlake_test_siglip"
CONFIG: dict[str, Any] = {
    "embed_dim": 32,
    "init_logit_bias": -10,
    "custom_text": True,
    "vision_cfg": {"image_size": 32, "timm_model_name": NAME, "timm_pool": "map", "timm_proj": "none"},
    "text_cfg": {**TEXT, "no_causal_mask": True, "proj_bias": True, "pool_type": "last"},
}


def pixlake_test_siglip(pretrained: bool = False, **options: Any) -> torch.nn.Module:
    """SigLIP's image tower, small."""
    size = {"img_size": 32, "patch_size": 16, "embed_dim": 32, "depth": 2, "num_heads": 2, "class_token": False}
    module = timm.models.VisionTransformer(**size, num_classes=0, global_pool="map")
    module.default_cfg = {"pool_size": None, "input_size": (3, 32, 32)}
    return module


def arrays(model: Any) -> dict[str, np.ndarray]:
    """The model as big_vision stores it: kernels transposed, heads apart."""
    out: dict[str, np.ndarray] = {}

    def put(name: str, tensor: torch.Tensor) -> None:
        out[name] = tensor.detach().numpy()

    def norm(name: str, module: Any) -> None:
        put(f"{name}/scale", module.weight)
        put(f"{name}/bias", module.bias)

    def dense(name: str, weight: torch.Tensor, bias: torch.Tensor) -> None:
        put(f"{name}/kernel", weight.T)
        put(f"{name}/bias", bias)

    def attention(name: str, weights: list[tuple[str, Any, Any]], proj: Any, heads: int = 2) -> None:
        for part, weight, bias in weights:
            put(f"{name}/{part}/kernel", weight.T.reshape(weight.shape[1], heads, -1))
            put(f"{name}/{part}/bias", bias.reshape(heads, -1))
        put(f"{name}/out/kernel", proj.weight.T.reshape(heads, -1, proj.weight.shape[0]))
        put(f"{name}/out/bias", proj.bias)

    def block(name: str, norms: Any, qkv: Any, proj: Any, mlp: Any) -> None:
        norm(f"{name}/LayerNorm_0", norms[0])
        norm(f"{name}/LayerNorm_1", norms[1])
        parts = zip(("query", "key", "value"), qkv[0].chunk(3), qkv[1].chunk(3), strict=True)
        attention(f"{name}/MultiHeadDotProductAttention_0", list(parts), proj)
        for i, layer in enumerate(mlp):
            dense(f"{name}/MlpBlock_0/Dense_{i}", layer.weight, layer.bias)

    trunk, text = model.visual.trunk, model.text
    put("params/img/embedding/kernel", trunk.patch_embed.proj.weight.permute(2, 3, 1, 0))
    put("params/img/embedding/bias", trunk.patch_embed.proj.bias)
    put("params/img/pos_embedding", trunk.pos_embed)
    for i, b in enumerate(trunk.blocks):
        qkv = (b.attn.qkv.weight, b.attn.qkv.bias)
        mlp = (b.mlp.fc1, b.mlp.fc2)
        block(f"params/img/Transformer/encoderblock_{i}", (b.norm1, b.norm2), qkv, b.attn.proj, mlp)
    norm("params/img/Transformer/encoder_norm", trunk.norm)
    pool, head = trunk.attn_pool, "params/img/MAPHead_0"
    put(f"{head}/probe", pool.latent)
    (kw, vw), (kb, vb) = pool.kv.weight.chunk(2), pool.kv.bias.chunk(2)
    parts = [("query", pool.q.weight, pool.q.bias), ("key", kw, kb), ("value", vw, vb)]
    attention(f"{head}/MultiHeadDotProductAttention_0", parts, pool.proj)
    norm(f"{head}/LayerNorm_0", pool.norm)
    dense(f"{head}/MlpBlock_0/Dense_0", pool.mlp.fc1.weight, pool.mlp.fc1.bias)
    dense(f"{head}/MlpBlock_0/Dense_1", pool.mlp.fc2.weight, pool.mlp.fc2.bias)
    put("params/txt/Embed_0/embedding", text.token_embedding.weight)
    put("params/txt/pos_embedding", text.positional_embedding[None])
    for i, b in enumerate(text.transformer.resblocks):
        qkv = (b.attn.in_proj_weight, b.attn.in_proj_bias)
        mlp = (b.mlp.c_fc, b.mlp.c_proj)
        block(f"params/txt/Encoder_0/encoderblock_{i}", (b.ln_1, b.ln_2), qkv, b.attn.out_proj, mlp)
    norm("params/txt/Encoder_0/encoder_norm", text.ln_final)
    dense("params/txt/head", text.text_projection.weight, text.text_projection.bias)
    put("params/b", model.logit_bias.reshape(1))
    put("params/t", model.logit_scale.reshape(1))
    return out


def test_big_visions_arrays_are_converted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(timm.models._registry._model_entrypoints, NAME, pixlake_test_siglip)
    monkeypatch.setitem(open_clip.factory._MODEL_CONFIGS, "pixlake-siglip", CONFIG)
    model = build(CONFIG)
    path = tmp_path / "siglip.npz"
    np.savez(path, **arrays(model))
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    spec = parse_model_name(f"open_clip:pixlake-siglip@{path}", sha256)
    described = describe(spec)
    pixels = np.random.default_rng(0).integers(0, 256, (3, 32, 32, 3), np.uint8)
    mean, std = (torch.tensor(each) for each in (described.preprocess.mean, described.preprocess.std))
    with torch.inference_mode():
        images = model.encode_image(((torch.from_numpy(pixels) / 255 - mean) / std).permute(0, 3, 1, 2)).numpy()
        words = model.encode_text(open_clip.tokenizer.SimpleTokenizer(context_length=16)(["a cat", "red"])).numpy()
    assert cosines(load_image_embedder(described, Runtime()).embed(pixels), images).min() >= 0.99999
    assert cosines(load_text_embedder(described).embed(["a cat", "red"]), words).min() >= 0.99999
    larger = describe(spec.model_copy(update={"preprocess": PreprocessOverrides(image_size=48)}))
    assert load_image_embedder(larger, Runtime()).embed(np.zeros((2, 48, 48, 3), np.uint8)).shape == (2, 32)
