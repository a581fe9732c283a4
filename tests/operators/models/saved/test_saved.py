"""Models of one's own: saved, read back to the same vectors, and refused where anything is amiss."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from made.open_clip_folders import write_folder
from operators.models.canaries import canary_pixels
from operators.models.load import describe, load_image_embedder, load_text_embedder
from operators.models.runtime import Runtime
from operators.models.saved import room
from operators.models.saved.card import CARD, ModelCard
from operators.models.saved.publish import check_free
from operators.models.saved.tower import OwnTower, Projection, trainable_tower
from operators.models.saved.write import SavedAs, save_model
from operators.models.spec import ModelDescription, ModelError, parse_model_name
from operators.models.weights.hash import sha256_of_file

BASES = ("timm", "layer", "clip")


def described(name: str, **options: Any) -> ModelDescription:
    return describe(parse_model_name(str(name)).model_copy(update=options))


def vectors(description: ModelDescription) -> np.ndarray:
    return load_image_embedder(description, Runtime()).embed(canary_pixels(description.preprocess, 4))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("own")


@pytest.fixture(scope="module")
def bases(folder: Path) -> dict[str, ModelDescription]:
    clip = write_folder(folder / "clip", "clip")
    return {
        "timm": described("timm:test_vit/random-1"),
        "layer": described("timm:test_vit/random-1", layer=-2, pooling="gem", gem_power=2.0),
        "clip": described(f"open_clip:local-dir:{clip}"),
    }


@pytest.fixture(scope="module")
def saved(folder: Path, bases: dict[str, ModelDescription]) -> dict[str, Path]:
    """Each base as it is, and `projected`, with a projection of all parts."""
    found = {}
    for name, base in bases.items():
        about = SavedAs(base=base, text="held" if base.text else "absent", recipe={"steps": 0})
        save_model(str(folder / "models" / name), trainable_tower(base), about)
        found[name] = folder / "models" / name
    found["projected"] = folder / "models" / "projected"
    tower = trainable_tower(bases["clip"], text=True)
    tower.projection = Projection(24, 8, normalize=True, mean=True, bias=True)
    with torch.no_grad():
        for each in (tower.projection.mean, tower.projection.bias):
            assert each is not None
            each += torch.randn(each.shape, generator=torch.Generator().manual_seed(1))
    save_model(str(found["projected"]), tower, SavedAs(base=bases["clip"], dims=(8, 4), text="tuned"))
    return found


@pytest.mark.parametrize("name", BASES)
def test_a_base_saved_as_it_is_gives_its_very_vectors(
    name: str, bases: dict[str, ModelDescription], saved: dict[str, Path]
) -> None:
    own = described(str(saved[name]))
    assert np.array_equal(vectors(own), vectors(bases[name]))
    assert own.text == bases[name].text
    assert own.preprocess == bases[name].preprocess
    if own.text:
        assert np.array_equal(*(load_text_embedder(each).embed(["a red coat"]) for each in (own, bases[name])))


def test_a_projection_is_that_of_torch(bases: dict[str, ModelDescription], saved: dict[str, Path]) -> None:
    file = load_file(next(saved["projected"].glob("*.safetensors")))
    mean, weight, bias = (file[f"projection.{name}"].double().numpy() for name in ("mean", "weight", "bias"))

    def by_hand(base_ND: np.ndarray) -> np.ndarray:
        unit = base_ND / np.linalg.norm(base_ND.astype(np.float64), axis=1, keepdims=True)
        return (unit - mean) @ weight.T + bias

    own = described(str(saved["projected"]))
    assert own.dim == 8
    np.testing.assert_allclose(vectors(own), by_hand(vectors(bases["clip"])), rtol=1e-4, atol=1e-5)
    words = ["a red coat", "shoes"]
    expected = by_hand(load_text_embedder(bases["clip"]).embed(words))
    np.testing.assert_allclose(load_text_embedder(own).embed(words), expected, rtol=1e-4, atol=1e-5)


def test_a_saved_model_can_be_the_base_of_another(saved: dict[str, Path], folder: Path) -> None:
    base = described(str(saved["projected"]))
    card = save_model(
        str(folder / "models" / "again"), trainable_tower(base, text=True), SavedAs(base=base, text="tuned")
    )
    again = described(str(folder / "models" / "again"))
    assert np.array_equal(vectors(again), vectors(base))
    assert card.base.family == "saved"
    assert card.base.weights_sha256 == base.weights_sha256


def test_the_space_tells_models_apart_by_weights_and_name(saved: dict[str, Path], folder: Path) -> None:
    own = described(str(saved["timm"]))
    shutil.copytree(saved["timm"], folder / "elsewhere" / "timm")
    moved = described(str(folder / "elsewhere" / "timm"))
    assert (moved.network, moved.weights_sha256) == (own.network, own.weights_sha256)
    assert own.network["name"] == "timm"
    assert described(str(saved["layer"])).network["base"]["gem_power"] == 2.0


def test_a_name_is_never_overwritten_but_by_the_very_same(
    bases: dict[str, ModelDescription], saved: dict[str, Path], folder: Path
) -> None:
    base, place = bases["timm"], str(saved["timm"])
    before = (saved["timm"] / CARD).read_bytes()
    save_model(place, trainable_tower(base), SavedAs(base=base, recipe={"steps": 0}, after={"recall": 0.5}))
    assert (saved["timm"] / CARD).read_bytes() == before
    with pytest.raises(ModelError, match=r"another model of this name is there, made 20.*choose another name"):
        save_model(place, trainable_tower(base), SavedAs(base=base, recipe={"steps": 1}))
    with pytest.raises(ModelError, match="a model of this name is there"):
        check_free(place)
    with pytest.raises(ModelError, match="something else is there"):
        check_free(str(folder))
    check_free(str(folder / "models" / "new"))
    assert not list((folder / "models").glob(".*"))


class Doubled(torch.nn.Module):
    def __init__(self, image: torch.nn.Module) -> None:
        super().__init__()
        self.module = image.module

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        return self.module(pixels) ** 2  # type: ignore[no-any-return]


def test_a_network_that_is_not_the_bases_is_not_saved(bases: dict[str, ModelDescription], folder: Path) -> None:
    base = bases["timm"]
    tower = trainable_tower(base)
    tower.image = Doubled(tower.image)
    with pytest.raises(ModelError, match="computes something else than its base's network"):
        save_model(str(folder / "models" / "other"), tower, SavedAs(base=base))
    wrapped = OwnTower(torch.nn.Sequential(trainable_tower(base).image))
    with pytest.raises(ModelError, match=r"the weights do not fit test_vit: missing image\.module"):
        save_model(str(folder / "models" / "other"), wrapped, SavedAs(base=base))
    with pytest.raises(ModelError, match="metric 'loss' is no finite number"):
        save_model(
            str(folder / "models" / "other"), trainable_tower(base), SavedAs(base=base, after={"loss": float("nan")})
        )
    assert not (folder / "models" / "other").exists()


@pytest.fixture
def copy(saved: dict[str, Path], tmp_path: Path) -> Path:
    return Path(shutil.copytree(saved["projected"], tmp_path / "projected"))


def rewrite_card(folder: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    card = json.loads((folder / CARD).read_text())
    change(card)
    (folder / CARD).write_text(json.dumps(card))


def rewrite_weights(folder: Path, change: Callable[[dict[str, torch.Tensor]], Any]) -> None:
    """The tensors changed, and the card made to fit the file."""
    [path] = folder.glob("*.safetensors")
    tensors = load_file(path)
    change(tensors)
    path.unlink()
    save_file(tensors, folder / "new.safetensors")
    digest = sha256_of_file(str(folder / "new.safetensors"))
    rewrite_card(folder, lambda card: card.update(weights_sha256=digest))
    (folder / "new.safetensors").rename(
        folder / ModelCard.model_validate_json((folder / CARD).read_text()).weights_file
    )


CARDS: dict[str, tuple[Callable[[dict[str, Any]], Any], str]] = {
    "newer": (lambda c: c.update(format=2), "format 2, and this release reads 1"),
    "field": (lambda c: c.update(weights="/etc/passwd"), "weights: Extra inputs are not permitted"),
    "path": (lambda c: c["network"].update(architecture="local-dir:/etc"), "no name of an architecture"),
    "sha256": (lambda c: c.update(weights_sha256="../../../etc/passwd"), "weights_sha256: String should match"),
    "hub": (
        lambda c: c["network"]["config"]["text_cfg"].update(hf_model_name="../x"),
        "no name of an arch",
    ),
    "library": (
        lambda c: c["network"].update(family="timm", architecture="vit_huge_x"),
        "a model of timm has no text tower",
    ),
    "dim": (lambda c: c.update(dim=9), "dim is 9, and the projection gives 8"),
    "no config": (lambda c: c["network"].update(config={"embed_dim": 24}), "does not say what open_clip is to build"),
    "strange config": (lambda c: c["network"]["config"].update(vision_cfg={"layers": "many"}), "cannot build this"),
    "preprocess": (lambda c: c["preprocess"].update(height=-1), "preprocess: .*height is -1 pixels, and 1 to 4,096"),
    "side": (
        lambda c: c["network"].update(image_size=4097),
        "image_size.*: Input should be less than or equal to 4096",
    ),
    "length": (lambda c: c["projection"].update(inputs=65_537), "inputs: Input should be less than or equal to 65536"),
    "depth": (
        lambda c: c["network"]["config"]["vision_cfg"].update(layers=1_001),
        "network.config: .*vision_cfg.layers is 1001, and at most 1,000 is taken",
    ),
    "width": (
        lambda c: c["network"]["config"]["vision_cfg"].update(width=1_000_001),
        "vision_cfg.width is 1e.06, and at most 1,000,000 is taken",
    ),
}


@pytest.mark.parametrize("case", CARDS)
def test_a_strange_card_is_a_sentence(case: str, copy: Path) -> None:
    change, message = CARDS[case]
    rewrite_card(copy, change)
    with pytest.raises(ModelError, match=message):
        described(str(copy))


@pytest.mark.parametrize(("limit", "value"), [("BESIDE_BYTES", 0), ("MOST_TENSORS", 50)])
def test_a_card_that_asks_for_more_than_its_weights_is_refused_before_it_is_built(
    limit: str, value: int, copy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(room, limit, value)
    rewrite_card(copy, lambda card: card["network"]["config"]["vision_cfg"].update(layers=300))
    with pytest.raises(ModelError, match=r"its card asks for a network of over [\d,]+ bytes in [\d,]+ tensors, and"):
        described(str(copy))


WEIGHTS: dict[str, tuple[Callable[[dict[str, torch.Tensor]], Any], str]] = {
    "missing": (lambda t: t.pop("projection.bias"), "missing projection.bias"),
    "extra": (lambda t: t.update({"image.more": torch.zeros(2)}), "unexpected image.more"),
    "strange": (lambda t: t.update({"code": torch.zeros(2)}), "'code', which no saved model has"),
    "shape": (lambda t: t.update({"projection.mean": torch.zeros(3)}), r"projection.mean is \(3,\), expected \(24,\)"),
    "type": (lambda t: t.update({"projection.mean": torch.zeros(24).half()}), "mean is torch.float16, expected"),
    "nan": (lambda t: t["projection.mean"].fill_(float("nan")), "projection.mean holds NaN or infinity"),
}


@pytest.mark.parametrize("case", WEIGHTS)
def test_strange_weights_are_a_sentence(case: str, copy: Path) -> None:
    change, message = WEIGHTS[case]
    rewrite_weights(copy, change)
    with pytest.raises(ModelError, match=message):
        described(str(copy))


def test_damaged_files_are_a_sentence(copy: Path) -> None:
    [weights] = copy.glob("*.safetensors")
    data = weights.read_bytes()
    for damaged, message in (
        ((2**63).to_bytes(8, "little") + data[8:], "truncated or not safetensors"),
        (data[: len(data) // 2], "truncated or not safetensors"),
        (data[:-4] + b"\x00\x00\x00\x01", "and model.json beside it says"),
    ):
        weights.write_bytes(damaged)
        with pytest.raises(ModelError, match=message):
            described(str(copy))
    weights.unlink()
    with pytest.raises(ModelError, match="is not there"):
        described(str(copy))
    for card, message in (
        (b"{" * 100_000, "damaged, or none"),
        (b" " * (2 << 20), "than 1,048,576 bytes"),
        (b"[]", "damaged"),
    ):
        (copy / CARD).write_bytes(card)
        with pytest.raises(ModelError, match=message):
            described(str(copy))
    (copy / CARD).unlink()
    with pytest.raises(ModelError, match="this is no model of Pixlake's"):
        described(str(copy))


def test_a_model_that_moved_or_changed_says_so(copy: Path, saved: dict[str, Path], tmp_path: Path) -> None:
    own = described(str(copy))
    copy.rename(tmp_path / "moved")
    with pytest.raises(
        ModelError, match=r"(?s)is not there.*moved or deleted\. Put that folder back.*keep it in a bucket"
    ):
        load_text_embedder(own)
    shutil.copytree(saved["timm"], copy)
    with pytest.raises(ModelError, match=r"(?s)what is there now was made 20\d\d-"):
        load_image_embedder(own, Runtime())
    shutil.rmtree(copy)
    copy.symlink_to(tmp_path / "moved")
    assert len(load_text_embedder(own).embed(["a hat"])) == 1


def test_what_was_trained_is_not_set(saved: dict[str, Path]) -> None:
    with pytest.raises(ModelError, match=r"model\.pooling is part of a saved model"):
        described(str(saved["timm"]), pooling="avg")
    with pytest.raises(ModelError, match=f"but {'0' * 64} is pinned"):
        described(str(saved["timm"]), sha256="0" * 64)
