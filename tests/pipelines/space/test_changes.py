"""Each single thing that decides what a vector means, changed alone, is caught under its name; a name alone is not."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import open_clip
import pytest
import timm
import torch
from safetensors.torch import save_file

from operators.api.options import ApiOptions
from operators.decode import DecodeOptions
from operators.fetching.options import FetchOptions
from operators.models.load import describe
from operators.models.spec import ModelOptions, Precision, parse_model_name
from operators.normalize import NormalizeOptions
from operators.pixels.preprocess import PreprocessOverrides
from operators.storage.stores import NO_OPTIONS
from pipelines.embedding.chain import operator_chain
from pipelines.embedding.columns import Options, VectorColumn
from pipelines.embedding.image_embedding import OPERATORS
from pipelines.run.cluster import ClusterConfig, StageConfig
from pipelines.space.check import check_space
from pipelines.space.field import SpaceError
from pipelines.space.record import Record, differences, space_digest, space_record

STAGES = (StageConfig(name="all", operators=OPERATORS),)


def record(
    name: str,
    *,
    options: ModelOptions = ModelOptions(),  # noqa: B008
    precision: Precision = "float32",
    decode: dict[str, Any] = {},  # noqa: B006
    normalize: dict[str, Any] = {},  # noqa: B006
) -> Record:
    spec = parse_model_name(name).model_copy(update=dict(options))
    column = VectorColumn(name="vector", model=describe(spec, NO_OPTIONS), precision=precision)
    chosen = Options(
        fetch=FetchOptions(),
        decode=DecodeOptions(**decode),
        normalize=NormalizeOptions(**normalize),
        api=ApiOptions(project="p"),
    )
    chain = operator_chain([column], chosen, ClusterConfig(stages=STAGES))
    return space_record([config for configs in chain.values() for config in configs], "vector")


def preprocess(**changes: Any) -> dict[str, Any]:
    return {"options": ModelOptions(preprocess=PreprocessOverrides(**changes))}


def save_timm(path: Path, seed: int) -> str:
    torch.manual_seed(seed)
    save_file(timm.create_model("test_vit", num_classes=0).state_dict(), path)
    return f"timm:test_vit@{path}"


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> str:
    return save_timm(tmp_path_factory.mktemp("weights") / "model.safetensors", 0)


CHANGES: dict[str, tuple[dict[str, Any], set[str]]] = {
    # At another size the positional embeddings are resampled, and what is resized to grows with it.
    "size": (
        preprocess(image_size=96),
        {f"decode.preprocess.{side}" for side in ("height", "width", "resize_height", "resize_width")},
    ),
    "crop": (preprocess(crop_pct=0.5), {"decode.preprocess.resize_height", "decode.preprocess.resize_width"}),
    "interpolation": (preprocess(interpolation="bilinear"), {"decode.preprocess.interpolation"}),
    "mean": (preprocess(mean=(0.1, 0.2, 0.3)), {"embed.mean"}),
    "orientation": ({"decode": {"orient": False}}, {"decode.orientation"}),
    "colour": ({"decode": {"colour": "ignore"}}, {"decode.colour"}),
    "pooling": ({"options": ModelOptions(pooling="avg")}, {"embed.pooling"}),
    "layer": ({"options": ModelOptions(layer=-2)}, {"embed.layer", "embed.final_norm"}),
    "precision": ({"precision": "bfloat16"}, {"embed.precision"}),
    "normalise": ({"normalize": {"l2": False}}, {"normalize.l2"}),
}


@pytest.mark.parametrize(("change", "fields"), CHANGES.values(), ids=CHANGES.keys())
def test_a_single_change_is_caught_and_named(weights: str, change: dict[str, Any], fields: set[str]) -> None:
    there, here = record(weights), record(weights, **change)
    assert {line.split(":")[0] for line in differences(there, here)} == fields
    assert space_digest(there) != space_digest(here)
    with pytest.raises(SpaceError) as refused:
        check_space(there, here, "./lake/t")
    assert all(field in str(refused.value) for field in fields)


def test_other_weights_of_the_same_network_are_caught(weights: str, tmp_path: Path) -> None:
    other = save_timm(tmp_path / "model.safetensors", 1)
    lines = differences(record(weights), record(other))
    assert [line.split(":")[0] for line in lines] == ["embed.weights_sha256"]


def test_another_dim_is_caught() -> None:
    lines = differences(record("vertex:multimodalembedding@001/512"), record("vertex:multimodalembedding@001/256"))
    assert [line.split(":")[0] for line in lines] == ["embed.dim"]


@pytest.mark.parametrize(
    ("options", "other", "field"),
    [
        ({"pooling": "gem"}, {"pooling": "gem", "gem_power": 4.0}, "embed.gem_power"),
        ({"layer": 1}, {"layer": 1, "final_norm": False}, "embed.final_norm"),
    ],
)
def test_what_belongs_to_a_choice_is_caught_with_it(
    weights: str, options: dict[str, Any], other: dict[str, Any], field: str
) -> None:
    there, here = (record(weights, options=ModelOptions(**each)) for each in (options, other))
    assert [line.split(":")[0] for line in differences(there, here)] == [field]


def test_what_an_option_does_not_touch_is_no_part_of_it(weights: str) -> None:
    assert record(weights) == record(weights, options=ModelOptions(gem_power=5.0, final_norm=False))


def timm_folder(folder: Path, weights: str) -> str:
    """As timm itself saves a model, every argument spelt out."""
    model = timm.create_model("test_vit", num_classes=7)
    timm.models.save_for_hf(model, folder, safe_serialization=True)
    assert json.loads((folder / "config.json").read_text())["model_args"]["num_classes"] == 7
    (folder / "model.safetensors").write_bytes(Path(weights.partition("@")[2]).read_bytes())
    return f"timm:local-dir:{folder}"


def open_clip_names(folder: Path) -> tuple[str, str]:
    """One of open_clip's own small networks as a weights file, and the same file in a folder with its configuration."""
    name = "ViT-S-32-alt"
    model = open_clip.create_model(name)
    save_file(model.state_dict(), folder / "open_clip_model.safetensors")
    config = open_clip.get_model_config(name)
    size = config["vision_cfg"]["image_size"]
    # What is spelt otherwise, and what only training looks at.
    config["vision_cfg"] |= {"image_size": [size, size], "patch_dropout": 0.5}
    cfg = {"model_cfg": config, "preprocess_cfg": open_clip.get_model_preprocess_cfg(model)}
    (folder / "open_clip_config.json").write_text(json.dumps(cfg))
    return f"open_clip:{name}@{folder}/open_clip_model.safetensors", f"open_clip:local-dir:{folder}"


def moved(folder: Path, weights: str) -> str:
    path = folder / "elsewhere.safetensors"
    path.write_bytes(Path(weights.partition("@")[2]).read_bytes())
    return f"timm:test_vit@{path}"


@pytest.mark.parametrize("other", [moved, timm_folder])
def test_the_same_weights_under_another_name_are_the_same_space(
    weights: str, tmp_path: Path, other: Callable[[Path, str], str]
) -> None:
    assert record(weights) == record(other(tmp_path, weights))


def test_the_same_open_clip_weights_under_another_name_are_the_same_space(tmp_path: Path) -> None:
    by_file, by_folder = open_clip_names(tmp_path)
    assert record(by_file) == record(by_folder)
