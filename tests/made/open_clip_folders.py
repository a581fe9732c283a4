"""Small models of open_clip's families as folders of its own form, written with plain open_clip."""

import json
from copy import deepcopy
from pathlib import Path
from typing import Any

import open_clip
import torch
from open_clip.coca_model import CoCa
from open_clip.model import CLIP, CustomTextCLIP
from safetensors.torch import save_file

TEXT = {"context_length": 16, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 2}

CONFIGS: dict[str, dict[str, Any]] = {
    "clip": {
        "embed_dim": 24,
        "vision_cfg": {"image_size": 64, "layers": 3, "width": 64, "head_width": 16, "patch_size": 16},
        "text_cfg": TEXT,
    },
    "resnet": {
        "embed_dim": 24,
        "vision_cfg": {"image_size": 64, "layers": [1, 1, 1, 1], "width": 16, "head_width": 32},
        "text_cfg": TEXT,
    },
    "clipa": {
        "embed_dim": 24,
        "vision_cfg": {
            **{"image_size": 64, "layers": 2, "width": 64, "head_width": 16, "patch_size": 16, "no_ln_pre": True},
            **{"pool_type": "avg", "final_ln_after_pool": True, "pos_embed_type": "sin_cos_2d"},
        },
        "text_cfg": TEXT,
    },
    "siglip": {
        "embed_dim": 96,
        "init_logit_bias": -10,
        "custom_text": True,
        "vision_cfg": {"image_size": 160, "timm_model_name": "test_vit3", "timm_pool": "map", "timm_proj": "none"},
        "text_cfg": {**TEXT, "no_causal_mask": True, "proj_bias": True, "pool_type": "last"},
    },
    "siglip2": {
        "embed_dim": 768,
        "init_logit_bias": -10,
        "custom_text": True,
        "vision_cfg": {
            **{"image_size": 256, "timm_model_name": "vit_base_patch32_siglip_256"},
            **{"timm_pool": "map", "timm_proj": "none"},
        },
        "text_cfg": {**TEXT, "no_causal_mask": True, "proj_bias": True, "pool_type": "last"},
    },
    "eva": {
        "embed_dim": 24,
        "custom_text": True,
        "vision_cfg": {
            **{"image_size": 224, "timm_model_name": "eva02_tiny_patch14_224"},
            **{"timm_pool": "token", "timm_proj": None},
        },
        "text_cfg": TEXT,
    },
    "convnext": {
        "embed_dim": 24,
        "vision_cfg": {"image_size": 64, "timm_model_name": "test_convnext", "timm_pool": "", "timm_proj": "linear"},
        "text_cfg": TEXT,
    },
    "coca": {
        "embed_dim": 24,
        "custom_text": True,
        "vision_cfg": {
            **{"image_size": 64, "layers": 2, "width": 64, "head_width": 16, "patch_size": 16},
            **{"attentional_pool": True, "attn_pooler_heads": 2, "attn_pooler_queries": 8, "output_tokens": True},
        },
        "text_cfg": {**TEXT, "embed_cls": True, "output_tokens": True},
        "multimodal_cfg": {**TEXT, "attn_pooler_heads": 2},
    },
}

PREPROCESS = {"mean": [0.4, 0.5, 0.6], "std": [0.2, 0.25, 0.3], "interpolation": "bicubic", "resize_mode": "squash"}


def build(config: dict[str, Any], seed: int = 3) -> Any:
    torch.manual_seed(seed)
    kind = CoCa if "multimodal_cfg" in config else CustomTextCLIP if config.get("custom_text") else CLIP
    model = kind(**{key: value for key, value in deepcopy(config).items() if key != "custom_text"})
    randomise(model, seed)
    return model.eval()


def randomise(model: torch.nn.Module, seed: int = 3) -> None:
    """Norms, biases and tokens that start at 0 or 1 would hide a wrong or missing one."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad and (parameter.ndim < 2 or not parameter.any()):
                parameter += 0.2 * torch.randn(parameter.shape, generator=generator)


def write_folder(
    folder: Path, name: str, preprocess: dict[str, Any] | None = None, config: dict[str, Any] | None = None
) -> Path:
    """open_clip_config.json and open_clip_model.safetensors of `CONFIGS[name]`, or of `config` in its place."""
    folder.mkdir(parents=True, exist_ok=True)
    config = config or CONFIGS[name]
    file = {"model_cfg": config, "preprocess_cfg": preprocess or PREPROCESS}
    (folder / "open_clip_config.json").write_text(json.dumps(file))
    save_file(build(config).state_dict(), folder / "open_clip_model.safetensors")
    return folder


def plain(
    name: str, size: int | tuple[int, int] | None = None, preprocess: dict[str, Any] | None = None
) -> tuple[Any, Any]:
    """The model and its transform of images, as open_clip itself loads them; `name` may be `local-dir:FOLDER`."""
    torch.manual_seed(3)
    module = open_clip.create_model(name, force_image_size=size, force_preprocess_cfg=preprocess)
    config = open_clip.transform.PreprocessCfg(**open_clip.get_model_preprocess_cfg(module))
    return module.eval(), open_clip.transform.image_transform_v2(config, is_train=False)
