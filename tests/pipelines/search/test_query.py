"""A query goes through the operators that indexed the table, or is refused."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from made.manifests import manifest_of
from operators.decode import DecodeConfig, DecodeOptions
from operators.embed import EmbedPixelsConfig
from operators.fetch import FetchConfig
from operators.models.load import describe
from operators.models.spec import ModelDescription, ModelError, parse_model_name
from operators.normalize import NormalizeConfig
from operators.storage.stores import NO_OPTIONS, StorageOptions
from pipelines.manifests.manifest import SourceConfig
from pipelines.run.stage import Resources, Stage
from pipelines.run.worker import StageWorker
from pipelines.search.query import embed_images, embed_texts, query_chain
from pipelines.sources.source import Source
from pipelines.sources.work import shard_work
from pipelines.space.field import SpaceError
from pipelines.space.record import space_record

NULL = describe(parse_model_name("null"))


def indexing(model: ModelDescription, fetch: FetchConfig, options: DecodeOptions, normalize: NormalizeConfig) -> Stage:
    decode = DecodeConfig(targets={"pixels": model.preprocess}, **options.model_dump())
    operators = (fetch, decode, EmbedPixelsConfig(model=model, batch_size=16), normalize)
    return Stage(name="index", operators=operators, resources=Resources(num_actors=1))


@pytest.fixture
def image(tmp_path: Path) -> Path:
    """Turned by EXIF, so that orientation counts."""
    path = tmp_path / "images" / "turned.jpg"
    path.parent.mkdir()
    rows = np.linspace(0, 255, 300).astype(np.uint8)
    pixels = np.stack(
        [np.tile(rows[:, None], (1, 200)), np.full((300, 200), 90, np.uint8), np.tile(rows[:200], (300, 1))], -1
    )
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(pixels).save(path, quality=95, exif=exif)
    return path


def vectors_of(stage: Stage, folder: Path, work: Path) -> np.ndarray:
    manifest = manifest_of(SourceConfig(uri=str(folder)), NO_OPTIONS, str(work))
    item = shard_work(manifest.shards[0], 0, np.ones(manifest.num_rows, bool))
    assert item is not None
    worker = StageWorker(stage)
    try:
        [block] = Source(columns=manifest.columns).read(item, 100)
        return np.array(worker(block)["vector"].to_pylist())
    finally:
        worker.close()


@pytest.mark.parametrize("name", ["null", "timm:test_vit/random-0"])
@pytest.mark.parametrize(
    ("decode", "normalize"),
    [({}, {}), ({"orient": False}, {"dtype": "float32"}), ({"colour": "ignore"}, {"l2": False, "dtype": "float32"})],
)
def test_the_query_is_the_indexed_vector(
    name: str, decode: dict[str, Any], normalize: dict[str, Any], image: Path, tmp_path: Path
) -> None:
    model, fetch = describe(parse_model_name(name)), FetchConfig(allowed_roots=(str(image.parent),))
    stage = indexing(model, fetch, DecodeOptions(**decode), NormalizeConfig(**normalize))
    [indexed] = vectors_of(stage, image.parent, tmp_path / "work")
    record = json.loads(json.dumps(space_record(stage.operators, "vector")))
    [[query]] = embed_images([str(image)], query_chain(record, model, fetch, "t"))
    assert query @ indexed / np.linalg.norm(query) / np.linalg.norm(indexed) > 0.99999
    assert np.linalg.norm(query) == pytest.approx(np.linalg.norm(indexed), rel=1e-3)


def test_weights_are_read_with_the_options_of_the_query() -> None:
    fetch = FetchConfig(storage=StorageOptions(region="eu-central-1"))
    record = space_record(indexing(NULL, fetch, DecodeOptions(), NormalizeConfig()).operators, "vector")
    [embed] = [config for config in query_chain(record, NULL, fetch, "t") if isinstance(config, EmbedPixelsConfig)]
    assert embed.storage == fetch.storage


def test_orientation_does_count(image: Path, tmp_path: Path) -> None:
    """The test above would see a query that ignores the record."""
    fetch = FetchConfig(allowed_roots=(str(image.parent),))
    upright, lying = (
        vectors_of(
            indexing(NULL, fetch, DecodeOptions(orient=orient), NormalizeConfig()), image.parent, tmp_path / f"{orient}"
        )[0]
        for orient in (True, False)
    )
    assert upright @ lying < 0.99


@pytest.mark.parametrize(
    ("section", "key", "value"),
    [("decode", "decoder", 99), ("embed", "weights_sha256", "0"), ("decode", "alpha", "black")],
)
def test_a_space_that_this_pixlake_does_not_compute_is_refused(section: str, key: str, value: object) -> None:
    record = space_record(indexing(NULL, FetchConfig(), DecodeOptions(), NormalizeConfig()).operators, "vector")
    record[section][key] = value
    with pytest.raises(SpaceError, match=rf"table lake/t: .*\n  {section}\.{key}: the table has "):
        query_chain(record, NULL, FetchConfig(), "lake/t")


def test_a_table_of_an_earlier_decoder_is_searched() -> None:
    record = space_record(indexing(NULL, FetchConfig(), DecodeOptions(), NormalizeConfig()).operators, "vector")
    today = query_chain(record, NULL, FetchConfig(), "lake/t")
    record["decode"]["decoder"] -= 1
    assert query_chain(record, NULL, FetchConfig(), "lake/t") == today


@pytest.mark.parametrize(
    ("content", "says"), [(b"%PDF-1.7", "decode failed, unsupported_format"), (None, "fetch failed, not_found")]
)
def test_an_image_that_gives_no_vector_says_why(content: bytes | None, says: str, tmp_path: Path) -> None:
    path = tmp_path / "query.jpg"
    if content:
        path.write_bytes(content)
    fetch = FetchConfig(allowed_roots=(str(tmp_path),))
    record = space_record(indexing(NULL, fetch, DecodeOptions(), NormalizeConfig()).operators, "vector")
    good = tmp_path / "good.png"
    Image.new("RGB", (20, 10), "red").save(good)
    failed, vectors = embed_images([str(path), str(good)], query_chain(record, NULL, fetch, "t"))
    assert str(failed).startswith(f"image {path}: {says}: ")
    [alone] = embed_images([str(good)], query_chain(record, NULL, fetch, "t"))
    assert np.array_equal(vectors, alone)


def test_words_on_a_model_of_images_only_are_refused_with_what_to_do() -> None:
    for name in ("null", "timm:test_vit/random-0"):
        with pytest.raises(ModelError, match="search this table by --image or --id, or embed the images with an open_"):
            embed_texts(["a cat"], describe(parse_model_name(name)))


def test_words_give_a_unit_vector_of_the_tables_dim() -> None:
    model = describe(parse_model_name("open_clip:ViT-S-32-alt/random-0"))
    vector = embed_texts(["a cat on a sofa"], model)[0]
    assert vector.shape == (model.dim,)
    assert np.linalg.norm(vector) == pytest.approx(1, abs=1e-5)
