"""A model of one's own as the commands see it: its name from any folder, its lengths, what is said of it."""

from pathlib import Path

import pytest

from jobs.config.model_names import ModelConfig, derive_name, models_named, trained_dims
from jobs.models import ModelsConfig, as_text, run
from operators.models.load import describe
from operators.models.saved.tower import Projection, trainable_tower
from operators.models.saved.write import SavedAs, save_model
from operators.models.spec import ModelError, parse_model_name


def test_a_saved_model_has_a_name_lengths_and_a_past(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    base = describe(parse_model_name("timm:test_vit/random-2"))
    tower = trainable_tower(base)
    tower.projection = Projection(base.dim, 16)
    about = SavedAs(
        base=base, dims=(8, 16), recipe={"trainable": "head"}, before={"1nn": 0.5}, after={"1nn": 0.75, "kept_cka": 1.0}
    )
    save_model("./models/My-Coats.v2", tower, about)

    config = ModelConfig(name="./models/My-Coats.v2")
    assert config.name == str(tmp_path / "models" / "My-Coats.v2")
    assert models_named(["./models/My-Coats.v2"]) == {"model": {"name": "./models/My-Coats.v2"}}
    assert derive_name(config.name) == "my_coats_v2"
    monkeypatch.chdir("/")
    found = run(ModelsConfig(name=config.name))
    assert found.model is not None
    assert trained_dims(found.model) == (16, 8)
    assert trained_dims(base) == ()
    said = "trained from timm:test_vit/random-2; trainable head; 1nn 0.5 -> 0.75; kept_cka 1; can be cut to 16, 8"
    assert f"made          {said}" in as_text(found)


@pytest.mark.parametrize(
    ("name", "architecture"),
    [
        ("s3://bucket/models/x/", "s3://bucket/models/x"),
        ("/a/b@c", "/a/b@c"),
        ("a/b=c", str(Path("a/b=c").absolute())),
        ("~/x", str(Path("~/x").expanduser())),
        ("file:///a/b%20c", "/a/b c"),
    ],
)
def test_paths_and_addresses_are_saved_models(name: str, architecture: str) -> None:
    spec = parse_model_name(name)
    assert (spec.family, spec.architecture) == ("saved", architecture)


@pytest.mark.parametrize("name", ["coats", "saved:/a/b", "unknown:resnet50", "unknown:a/b"])
def test_a_bare_word_is_none(name: str) -> None:
    with pytest.raises(ModelError, match=r"no such model.*or \./FOLDER of a model of your own"):
        parse_model_name(name)
