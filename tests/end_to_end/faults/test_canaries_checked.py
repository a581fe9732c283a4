"""A model that computes something else from the same settings is found at the next start, by workers and by queries."""

import json
from pathlib import Path

import lance
import numpy as np
import pytest

from end_to_end.audit import num_versions
from end_to_end.command import embed_here, pixlake_here
from made.sources import make_folder
from operators.embed import EmbedPixelsConfig
from operators.models.canaries import NUM_CANARIES, CanaryError, canary_pixels, record_canaries
from operators.models.load import describe
from operators.models.spec import parse_model_name
from pipelines.space.field import CANARIES_KEY, read_canaries

MODEL = "timm:test_vit/random-0"
MODEL_SET = ("--set", f"model.name={MODEL}")


def rewrite_canaries(table: str, vectors: np.ndarray, torch_version: str) -> None:
    """The table as if it had been made where the model gave these vectors."""
    dataset = lance.dataset(f"{table}.lance")
    field = dataset.schema.field("vector")
    before = record_canaries(vectors, name=MODEL, precision="float32", device="cpu")
    made = before.model_copy(update={"versions": {**before.versions, "torch": torch_version}})
    metadata = {k.decode(): v.decode() for k, v in field.metadata.items()}
    metadata[CANARIES_KEY.decode()] = made.model_dump_json()
    dataset.update_field_metadata({"vector": metadata}, replace=True)


def stored(table: str) -> np.ndarray:
    canaries = read_canaries(lance.dataset(f"{table}.lance").schema.field("vector"))
    assert canaries is not None
    return canaries.to_numpy()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("canaries")


@pytest.fixture(scope="module")
def table(folder: Path) -> str:
    make_folder(folder / "images", range(5))
    make_folder(folder / "more", range(5, 8))
    name = f"{folder}/lake/photos"
    made = embed_here(f"{folder}/images", name, *MODEL_SET)
    assert made.code == 0, made.err
    return name


def test_they_are_stored_with_the_column_and_shown(table: str) -> None:
    assert stored(table).shape == (NUM_CANARIES, 64)
    shown = pixlake_here("describe", table, "--json")
    (column,) = json.loads(shown.out)["vector_columns"].values()
    assert column["canaries"]["device"] == "cpu"
    assert "torch" in column["canaries"]["versions"]
    assert "canaries   vector: made on cpu in float32 with torch" in pixlake_here("describe", table).out


def test_vectors_that_moved_are_refused_with_what_changed(folder: Path, table: str) -> None:
    good = stored(table)
    rewrite_canaries(table, np.roll(good, 1, axis=1), "1.2.3")
    before = num_versions(table)
    try:
        for refused in (
            embed_here(f"{folder}/more", table, *MODEL_SET),
            pixlake_here("search", table, "--image", str(next((folder / "images").iterdir()))),
        ):
            assert refused.code == 2
            assert refused.out == ""
            assert "torch 1.2.3 -> " in refused.err
            assert "Traceback" not in refused.err
        assert num_versions(table) == before
    finally:
        rewrite_canaries(table, good, "1.2.3")
    again = embed_here(f"{folder}/more", table, *MODEL_SET)
    assert again.code == 0, again.err


def test_a_worker_checks_what_it_has_loaded() -> None:
    """On a node with other libraries or hardware than the driver's."""
    model = describe(parse_model_name(MODEL))
    honest = EmbedPixelsConfig(model=model).build().embedder.embed
    vectors = honest(canary_pixels(model.preprocess))
    right = record_canaries(vectors, name=MODEL, precision="float32", device="cpu")
    EmbedPixelsConfig(model=model, canaries=right, batch_size=5).build()
    EmbedPixelsConfig(model=model, canaries=right, num_threads=1).on_cores(40).build()
    wrong = record_canaries(np.roll(vectors, 1, axis=1), name=MODEL, precision="float32", device="cpu")
    with pytest.raises(CanaryError, match="does not compute what it did"):
        EmbedPixelsConfig(model=model, canaries=wrong).build()
    # Only the first ones are looked at where so few are asked for.
    last = vectors.copy()
    last[-1] = last[0]
    late = record_canaries(last, name=MODEL, precision="float32", device="cpu")
    EmbedPixelsConfig(model=model, canaries=late, num_canaries=15).build()
    for passes in (1, 3, 40):
        with pytest.raises(CanaryError):
            EmbedPixelsConfig(model=model, canaries=late, num_threads=1).on_cores(passes).build()


def test_appending_keeps_the_canaries_of_the_first_run(folder: Path, table: str) -> None:
    before = lance.dataset(f"{table}.lance").schema.field("vector").metadata[CANARIES_KEY]
    make_folder(folder / "third", range(20, 22))
    assert embed_here(f"{folder}/third", table, *MODEL_SET).code == 0
    assert lance.dataset(f"{table}.lance").schema.field("vector").metadata[CANARIES_KEY] == before
