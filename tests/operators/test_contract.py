"""Every operator held to what it declares, on every kind of batch. A new operator needs a case here."""

import importlib
import io
import pickle
import pkgutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

import operators
from made.square_detector import write_square_detector
from operators.api.options import ApiOptions
from operators.assign import AssignConfig
from operators.base.arrays import (
    list_field,
    pixels_field,
    pixels_from_numpy,
    rebuild_lists,
    vector_field,
    vectors_from_numpy,
)
from operators.base.columns import (
    ERROR_FIELDS,
    HEIGHT,
    IMAGE_BYTES,
    KNOWN_SHA256,
    REGIONS,
    SHA256,
    SOURCE_SCHEMA,
    WIDTH,
)
from operators.base.errors import ErrorClass, Failure
from operators.base.operator import Operator, OperatorConfig
from operators.base.rows import fail_rows, good_rows
from operators.classify import ClassifyVectorsConfig
from operators.compare import CompareConfig
from operators.crop import CropConfig
from operators.decode import DecodeConfig
from operators.detect import CANVAS, DetectConfig
from operators.embed import EmbedPixelsConfig
from operators.embed_api import ApiEmbedConfig, api_embed_config
from operators.embed_patches import PatchEmbedConfig, patch_spec
from operators.fetch import FetchConfig
from operators.head import HeadConfig
from operators.models.detectors.load import describe_detector
from operators.models.detectors.spec import parse_detector_name
from operators.models.load import describe
from operators.models.spec import ModelDescription, parse_model_name
from operators.normalize import NormalizeConfig, RenormalizeConfig
from operators.pca import PcaConfig
from operators.pixels.preprocess import PreprocessOverrides
from operators.quantize import QuantizeConfig
from operators.regions.columns import regions_from_numpy
from operators.regions.options import DetectorOptions, PatchesOptions
from operators.storage.artifacts import Artifact, write_artifact
from operators.truncate import TruncateConfig
from operators.vectors.codecs import fit_codec
from servers.vertex import Arrival, Fault, VertexServer, error

ROWS = 6
GONE = Failure(error_class=ErrorClass.NOT_FOUND, message="gone", http_status=404, attempts=3)
CASES = (
    "fetch",
    "decode",
    "compare",
    "decode-regions",
    "detect",
    "crop",
    "embed-null",
    "embed-efficientnet-lite0",
    "embed-regions",
    "embed-patches",
    "embed-api",
    "normalize",
    "normalize-regions",
    "pca",
    "head",
    "truncate",
    "renormalize",
    "assign",
    "assign-regions",
    "classify",
    *(f"quantize-{precision}" for precision in ("float16", "int8", "binary", "pq")),
)
COUNTS = np.array([2, 1, 3, 1, 2, 1])
"""Regions of each row."""


@dataclass(frozen=True)
class Case:
    """An operator and six rows that it can work on; it is to fail the rows in `fails` by itself."""

    operator: Operator[Any]
    batch: pa.Table
    fails: tuple[int, ...] = ()


def source_rows(uris: list[str]) -> pa.Table:
    """What a source emits, with a manifest column that the user keeps: operators must leave it alone."""
    columns: dict[str, Any] = {f.name: pa.nulls(ROWS, f.type) for f in SOURCE_SCHEMA}
    columns |= {"shard": [7] * ROWS, "row": list(range(ROWS)), "id": [f"id{n}" for n in range(ROWS)], "uri": uris}
    table = pa.Table.from_pydict(columns, schema=SOURCE_SCHEMA)
    return table.add_column(4, pa.field("label", pa.string()), [[f"l{n}" for n in range(ROWS)]])


def with_column(field: pa.Field, values: pa.Array) -> pa.Table:
    return source_rows([f"s3://b/{n}.png" for n in range(ROWS)]).append_column(field, values)


def png(seed: int) -> bytes:
    out = io.BytesIO()
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (40, 60, 3), np.uint8)).save(out, "PNG")
    return out.getvalue()


def embed_case(model: ModelDescription) -> Case:
    size = (ROWS, model.preprocess.height, model.preprocess.width, 3)
    pixels = np.random.default_rng(0).integers(0, 256, size, np.uint8)
    field = pixels_field(model.preprocess.height, model.preprocess.width)
    rows = pa.array([each.tobytes() for each in pixels], field.type)
    return Case(EmbedPixelsConfig(model=model, num_threads=1).build(), with_column(field, rows))


def embed_regions_case() -> Case:
    model = describe(parse_model_name("null"))
    height, width = model.preprocess.height, model.preprocess.width
    pixels = np.random.default_rng(0).integers(0, 256, (COUNTS.sum(), height, width, 3), np.uint8)
    lists = rebuild_lists(pixels_from_numpy(pixels, np.ones(len(pixels), bool)), COUNTS)
    return Case(
        EmbedPixelsConfig(model=model, num_threads=1).build(),
        with_column(list_field(pixels_field(height, width)), lists),
    )


def detect_case(folder: Path) -> Case:
    """In row 4 there is no red square, and such a row is to fail."""
    pixels = np.full((ROWS, 64, 64, 3), 128, np.uint8)
    pixels[np.arange(ROWS) != 4, 16:48, 8:32] = (220, 20, 30)
    batch = with_column(pixels_field(64, 64, CANVAS), pixels_from_numpy(pixels, np.ones(ROWS, bool)))
    for field in (WIDTH, HEIGHT):
        batch = batch.append_column(field, pa.array([256] * ROWS, field.type))
    model = describe_detector(parse_detector_name(f"transformers:{write_square_detector(folder)}"))
    options = DetectorOptions(kind="detector", model="any", image_size=64, without_regions="fail")
    return Case(DetectConfig(model=model, options=options, batch_size=1, num_threads=1).build(), batch, fails=(4,))


def embed_patches_case() -> Case:
    """The manifest gives two boxes of each image; of row 4, one lies outside."""
    model = describe(patch_spec(parse_model_name("null")))
    batch = embed_case(model).batch
    for field in (WIDTH, HEIGHT):
        batch = batch.append_column(field, pa.array([60] * ROWS, field.type))
    boxes = [[[0, 0, 20, 20], [30.5, 10, 60, 40 if n != 4 else 5]] for n in range(ROWS)]
    options = PatchesOptions(kind="patches", column="boxes")
    config = PatchEmbedConfig(embed=EmbedPixelsConfig(model=model, num_threads=1), regions=options)
    return Case(config.build(), batch.append_column("boxes", pa.array(boxes)), fails=(4,))


def decode_regions_case(name: str) -> Case:
    """The manifest gives a list of two boxes of each image, and an earlier operator found the same."""
    images = pa.array([png(n) if n != 4 else b"no image" for n in range(ROWS)], IMAGE_BYTES.type)
    boxes = np.tile(np.array([[0, 0, 20, 20], [30.5, 10, 60, 40]], np.float32), (ROWS, 1))
    batch = with_column(IMAGE_BYTES, images)
    options = {"targets": {"pixels": describe(parse_model_name("null")).preprocess}, "isolate": False}
    if name == "crop":
        every, twos = np.ones(ROWS, bool), np.full(ROWS, 2)
        nothing = [None] * len(boxes)
        found = regions_from_numpy(["detection"] * len(boxes), boxes, nothing, nothing, twos, every)
        config = CropConfig.model_validate({**options, "regions": {"kind": "detector", "model": "any"}})
        return Case(config.build(), batch.append_column(REGIONS, found), fails=(4,))
    given = pa.array(boxes.reshape(ROWS, 2, 4).tolist())
    config = DecodeConfig.model_validate({**options, "regions": {"kind": "boxes", "column": "boxes"}})
    return Case(config.build(), batch.append_column("boxes", given), fails=(4,))


def normalize_regions_case() -> Case:
    """Of row 4, its second region's vector is zero."""
    vectors = np.random.default_rng(0).normal(size=(COUNTS.sum(), 8)).astype(np.float32)
    vectors[COUNTS[:4].sum() + 1] = 0
    lists = rebuild_lists(vectors_from_numpy(vectors), COUNTS)
    return Case(NormalizeConfig().build(), with_column(list_field(vector_field(8, pa.float32())), lists), fails=(4,))


def api_case(url: str) -> Case:
    """Of six images, the server refuses the one whose first pixels are white."""
    spec = parse_model_name("vertex:multimodalembedding@001/128")
    model = describe(spec.model_copy(update={"preprocess": PreprocessOverrides(image_size=32)}))
    pixels = np.zeros((ROWS, 32, 32, 3), np.uint8)
    pixels += np.arange(ROWS, dtype=np.uint8)[:, None, None, None] * 40
    pixels[4] = 255
    field = pixels_field(32, 32)
    batch = with_column(field, pa.array([each.tobytes() for each in pixels], field.type))
    batch = batch.append_column(HEIGHT, pa.array([32] * ROWS, HEIGHT.type))
    batch = batch.append_column(WIDTH, pa.array([32] * ROWS, WIDTH.type))
    api = ApiOptions(project="demo", endpoint=url, requests_per_minute=60_000)
    return Case(api_embed_config(model, api).build(), batch, fails=(4,))


def refuse_white(arrival: Arrival) -> Fault | None:
    return error(400, "INVALID_ARGUMENT", "white") if arrival.pixels.min() > 250 else None


@pytest.fixture(scope="module")
def server() -> Iterator[VertexServer]:
    server = VertexServer(refuse_white)
    yield server
    server.close()


def reducing_case(name: str, folder: Path) -> Case:
    """Of six vectors, one has nothing to renormalise, and one does not fit float16."""
    vectors = np.random.default_rng(0).normal(size=(ROWS, 8)).astype(np.float32)
    batch = with_column(vector_field(8, pa.float32()), vectors_from_numpy(vectors))
    if name == "pca":
        fitted = {"mean": np.ones(8), "components": np.eye(8)[:3], "explained_variance": np.arange(3) + 1.0}
        ref = write_artifact(Artifact(kind="pca", tensors=fitted, space={}, rows=6), str(folder))
        return Case(PcaConfig(artifact=ref, dim=3, whiten=True, source="vector", column="small").build(), batch)
    if name == "head":
        shapes = {"mean": (8,), "weight": (3, 8), "hidden": (4, 8), "bias": (4,), "output": (3, 4)}
        trained = {each: np.ones(shape) for each, shape in shapes.items()}
        ref = write_artifact(Artifact(kind="head", tensors=trained, space={}, rows=6), str(folder))
        return Case(HeadConfig(artifact=ref, dim=3, source="vector", column="small").build(), batch)
    if name == "truncate":
        return Case(TruncateConfig(dim=3, source="vector", column="small").build(), batch)
    if name == "renormalize":
        vectors[4] = 0
        batch = with_column(vector_field(8, pa.float32()), vectors_from_numpy(vectors))
        return Case(RenormalizeConfig(column="vector").build(), batch, fails=(4,))
    precision = name.removeprefix("quantize-")
    options: dict[str, Any] = {"precision": precision, "dim": 8, "source": "vector", "column": "small"}
    if precision == "float16":
        vectors[4] = 1e6
        batch = with_column(vector_field(8, pa.float32()), vectors_from_numpy(vectors))
        return Case(QuantizeConfig(**options).build(), batch, fails=(4,))
    sample = np.random.default_rng(1).normal(size=(300, 8)).astype(np.float32)
    ref = write_artifact(fit_codec(precision, sample, pq_bytes=2, space={}), str(folder))  # type: ignore[arg-type]
    return Case(QuantizeConfig(**options, artifact=ref, pq_bytes=2).build(), batch)


def labelling_case(name: str, folder: Path) -> Case:
    """Vectors of eight numbers, or lists of them, to the nearest of three centres or the likeliest of three classes."""
    counts = COUNTS if name.endswith("regions") else np.ones(ROWS, np.int64)
    vectors = vectors_from_numpy(np.random.default_rng(0).normal(size=(counts.sum(), 8)).astype(np.float32))
    field = vector_field(8, pa.float32())
    if name.endswith("regions"):
        batch = with_column(list_field(field), rebuild_lists(vectors, counts))
    else:
        batch = with_column(field, vectors)
    rows = np.eye(8, dtype=np.float32)[:3]
    if name.startswith("assign"):
        made = Artifact(kind="kmeans", tensors={"centres": rows}, space={}, rows=6)
        ref = write_artifact(made, str(folder))
        return Case(AssignConfig(artifact=ref, source="vector", cluster=("a", "b"), cosine=("c",)).build(), batch)
    settings = {"classes": ["x", "y", "z"], "temperature": 0.5}
    tensors = {"weights": rows, "bias": np.zeros(3, np.float32)}
    ref = write_artifact(Artifact(kind="probe", tensors=tensors, space={}, rows=6, settings=settings), str(folder))
    named = {"label": ("y",), "score": ("y_score",), "margin": ("y_margin",)}
    return Case(ClassifyVectorsConfig(artifact=ref, threshold=0.6, source="vector", **named).build(), batch)


def make(name: str, folder: Path, url: str) -> Case:
    if name.startswith(("assign", "classify")):
        return labelling_case(name, folder)
    if name in ("pca", "head", "truncate", "renormalize") or name.startswith("quantize"):
        return reducing_case(name, folder)
    if name == "embed-api":
        return api_case(url)
    if name in ("crop", "decode-regions"):
        return decode_regions_case(name)
    if name == "embed-regions":
        return embed_regions_case()
    if name == "detect":
        return detect_case(folder)
    if name == "embed-patches":
        return embed_patches_case()
    if name == "normalize-regions":
        return normalize_regions_case()
    if name == "fetch":
        for n in range(ROWS):
            (folder / f"{n}.png").write_bytes(png(n))
        uris = [str(folder / (f"{n}.png" if n != 4 else "nothing.png")) for n in range(ROWS)]
        return Case(FetchConfig(allowed_roots=(str(folder),)).build(), source_rows(uris), fails=(4,))
    if name == "compare":
        digests = [f"{n:064x}" for n in range(ROWS)]
        batch = with_column(SHA256, pa.array(digests))
        batch = batch.append_column(KNOWN_SHA256, pa.array([None, "ab", "-", None, digests[4], None]))
        return Case(CompareConfig(moved=bytes.fromhex(f"{9:064x}")).build(), batch, fails=(4,))
    if name == "decode":
        images = [png(n) if n != 4 else b"no image" for n in range(ROWS)]
        model = describe(parse_model_name("null"))
        config = DecodeConfig(targets={"pixels": model.preprocess}, isolate=False)
        return Case(config.build(), with_column(IMAGE_BYTES, pa.array(images, IMAGE_BYTES.type)), fails=(4,))
    if name == "normalize":
        vectors = np.random.default_rng(0).normal(size=(ROWS, 8)).astype(np.float32)
        vectors[4] = 0
        batch = with_column(vector_field(8, pa.float32()), vectors_from_numpy(vectors))
        return Case(NormalizeConfig().build(), batch, fails=(4,))
    return embed_case(describe(parse_model_name(name.removeprefix("embed-"))))


@pytest.fixture(scope="module", params=CASES)
def case(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, server: VertexServer
) -> Iterator[Case]:
    made = make(request.param, tmp_path_factory.mktemp("contract"), server.url)
    yield made
    made.operator.close()


def failed_before(batch: pa.Table, rows: list[int]) -> pa.Table:
    """Rows that an earlier operator failed: error columns filled, all that operators make is null."""
    made = set(batch.column_names) - {*SOURCE_SCHEMA.names, "label", "boxes"}
    for name in made:
        index = batch.schema.get_field_index(name)
        values = [None if n in rows else value for n, value in enumerate(batch[name].to_pylist())]
        batch = batch.set_column(index, batch.schema.field(name), pa.array(values, batch.schema.field(name).type))
    return fail_rows(batch, dict.fromkeys(rows, GONE), "earlier")


@pytest.mark.parametrize("gone", [[], [0, 3, 5], list(range(ROWS))], ids=["good", "mixed", "failed"])
def test_rows_schema_and_earlier_failures_are_kept(case: Case, gone: list[int]) -> None:
    given = failed_before(case.batch, gone)
    out = case.operator(given)
    assert out.schema.equals(case.operator.config.output_schema(given.schema), check_metadata=True)
    for name in ("shard", "row", "id", "uri", "label"):
        assert out[name].equals(given[name])
    bad = {*gone, *case.fails}
    assert good_rows(out).to_pylist() == [n not in bad for n in range(ROWS)]
    for field in ERROR_FIELDS:
        values = out[field.name].to_pylist()
        assert [values[n] for n in gone] == given[field.name].take(pa.array(gone, pa.int64())).to_pylist()
    stages = out["error_stage"].to_pylist()
    assert {stages[n] for n in case.fails if n not in gone} <= {case.operator.config.name}
    out.validate(full=True)


def test_no_rows_are_no_rows(case: Case) -> None:
    given = case.batch.slice(0, 0)
    out = case.operator(given)
    assert out.num_rows == 0
    assert out.schema.equals(case.operator.config.output_schema(given.schema))


def test_a_batch_of_several_chunks_and_a_slice_give_the_same_rows(case: Case) -> None:
    whole = without_counts(case.operator(case.batch))
    pieces = pa.concat_tables([case.batch.slice(0, 1), case.batch.slice(1, 3), case.batch.slice(4)])
    assert without_counts(case.operator(pieces)).equals(whole)
    assert without_counts(case.operator(case.batch.slice(2, 3))).equals(whole.slice(2, 3))


def without_counts(table: pa.Table) -> pa.Table:
    """Vectors to three decimals: another batch size may round the last bits otherwise."""
    if "vector" in table.column_names and table.schema.field("vector").type.value_type == pa.float32():
        rounded = [v and np.round(v, 3).tolist() for v in table["vector"].to_pylist()]
        return table.drop_columns(["vector"]).append_column("vector", pa.array(rounded))
    return table.combine_chunks()


def test_it_needs_the_columns_that_it_reads_and_no_others(case: Case) -> None:
    config = case.operator.config
    assert config.reads <= set(case.batch.column_names)
    needed = [n for n in case.batch.column_names if n in config.reads or n.startswith("error")]
    assert case.operator(case.batch.select(needed)).num_rows == ROWS
    for name in config.reads:
        with pytest.raises((KeyError, ValueError, IndexError, pa.ArrowInvalid)):
            case.operator(case.batch.drop_columns([name]))


def test_the_config_travels_to_workers(case: Case) -> None:
    config = case.operator.config
    again = pickle.loads(pickle.dumps(config))
    assert again == config
    assert [again.space(n) for n in ("pixels", "vector")] == [config.space(n) for n in ("pixels", "vector")]
    assert len(pickle.dumps(config)) < 10_000


def test_the_schema_is_folded_without_touching_what_goes_in(case: Case) -> None:
    schema = case.batch.schema
    names = list(schema.names)
    assert case.operator.config.output_schema(schema) == case.operator.config.output_schema(schema)
    assert schema.names == names


def test_every_operator_of_the_package_has_a_case() -> None:
    for module in pkgutil.walk_packages(operators.__path__, "operators."):
        if not module.name.startswith("operators.models"):
            importlib.import_module(module.name)
    declared = subclasses(OperatorConfig)
    # What several have in common is named by none.
    found = {c for c in declared if c.__module__.startswith("operators.") and hasattr(c, "name")}
    reducing = {PcaConfig, HeadConfig, TruncateConfig, RenormalizeConfig, QuantizeConfig}
    embedding = {EmbedPixelsConfig, PatchEmbedConfig, ApiEmbedConfig}
    covered = {
        FetchConfig,
        CompareConfig,
        DecodeConfig,
        DetectConfig,
        CropConfig,
        *embedding,
        NormalizeConfig,
        *reducing,
        AssignConfig,
        ClassifyVectorsConfig,
    }
    assert found == covered, "add the new operator to CASES and to `covered`"
    assert {c.name for c in covered} == {name.partition("-")[0] for name in CASES}


def subclasses(cls: type) -> set[type]:
    return {found for sub in cls.__subclasses__() for found in {sub, *subclasses(sub)}}
