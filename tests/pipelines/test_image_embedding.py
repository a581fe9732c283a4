"""The main pipeline as plain data: which stage runs what, what comes out, and what cannot be planned."""

from typing import Any

import pyarrow as pa
import pytest

from operators.decode import DecodeOptions
from operators.fetch import FetchConfig
from operators.models.load import describe
from operators.models.spec import parse_model_name
from operators.normalize import NormalizeConfig
from operators.storage import NO_OPTIONS
from pipelines.cluster import ClusterConfig, StageConfig
from pipelines.image_embedding import OPERATORS, Options, arrange, image_embedding, operator_chain
from pipelines.manifest import Columns, Manifest
from pipelines.space import read_space, space_digest
from pipelines.stage import PlanError, Stage, fold_schema
from pipelines.table_names import TableNames

MODEL = describe(parse_model_name("null"))
TWO = (
    StageConfig(name="preprocess", operators=("fetch", "decode"), num_actors=3),
    StageConfig(name="embed", operators=("embed", "normalize"), num_gpus=1.0),
)
ONE = (StageConfig(name="all", operators=OPERATORS),)
MANIFEST = Manifest(
    digest="d", uri="s3://b/m.parquet", shards=(), num_rows=0, columns=Columns(kept=(pa.field("label", pa.string()),))
)


def chain(**normalize: Any) -> Any:
    options = Options(fetch=FetchConfig(), decode=DecodeOptions(), normalize=NormalizeConfig(**normalize))
    cluster = ClusterConfig(stages=ONE, batch_size=7, num_threads=2)
    return operator_chain(MODEL, "float32", options, cluster)


def pipeline(stages: tuple[Stage, ...]) -> Any:
    names = TableNames.from_table("/lake/photos")
    return image_embedding(manifest=MANIFEST, stages=stages, names=names, images=NO_OPTIONS, table=NO_OPTIONS)


def test_the_chain_has_every_operator_in_order_with_the_clusters_settings() -> None:
    made = chain()
    assert tuple(made) == OPERATORS == tuple(config.name for config in made.values())
    assert (made["embed"].batch_size, made["embed"].num_threads) == (7, 2)
    assert made["decode"].preprocess == MODEL.preprocess


def test_stages_get_their_operators_and_resources() -> None:
    first, second = arrange(chain(), TWO)
    assert [o.name for o in first.operators] == ["fetch", "decode"]
    assert [o.name for o in second.operators] == ["embed", "normalize"]
    assert (first.resources.num_actors, second.resources.num_gpus) == (3, 1.0)


@pytest.mark.parametrize(
    "operators",
    [
        [("fetch", "decode", "embed")],
        [("fetch", "decode"), ("decode", "embed", "normalize")],
        [("decode", "fetch"), ("embed", "normalize")],
        [("fetch", "decode", "embed", "normalize", "sharpen")],
    ],
    ids=["left out", "twice", "wrong order", "unknown"],
)
def test_an_operator_left_out_twice_misplaced_or_unknown_is_refused(operators: list[tuple[str, ...]]) -> None:
    stages = [StageConfig(name=f"s{n}", operators=each) for n, each in enumerate(operators)]
    with pytest.raises(PlanError, match=r"each operator must be in exactly one stage, in this order") as error:
        arrange(chain(), stages)
    assert "fetch, decode, embed, normalize" in str(error.value)


def test_how_stages_are_cut_changes_neither_schema_nor_space() -> None:
    (one, record), (two, same) = pipeline(arrange(chain(), ONE)), pipeline(arrange(chain(), TWO))
    assert record == same
    assert one.sink.vectors_schema.equals(two.sink.vectors_schema, check_metadata=True)


def test_the_table_has_the_models_dim_the_kept_columns_and_the_space() -> None:
    made, record = pipeline(arrange(chain(dtype="float32"), TWO))
    schema = made.sink.vectors_schema
    assert schema.field("vector").type == pa.list_(pa.float32(), MODEL.dim)
    assert {"shard", "row", "id", "uri", "label", "width", "height", "format", "sha256"} <= set(schema.names)
    assert not {"pixels", "image_bytes", "requests", "error_class"} & set(schema.names)
    assert read_space(schema.field("vector"), "t") == (record, MODEL)
    assert set(record) == {"decode", "embed", "normalize"}
    assert record["normalize"] == {"l2": True, "dtype": "float32"}


def test_what_decides_a_vector_decides_the_digest() -> None:
    digests = {space_digest(pipeline(arrange(chain(**n), ONE))[1]) for n in ({}, {"l2": False}, {"dtype": "float32"})}
    assert len(digests) == 3


def test_a_column_that_no_operator_gives_is_named() -> None:
    made = chain()
    stages = (
        Stage(name="first", operators=(made["fetch"],), resources=TWO[0].resources()),
        Stage(name="second", operators=(made["embed"],), resources=TWO[0].resources()),
    )
    with pytest.raises(PlanError) as error:
        fold_schema(pa.schema([("uri", pa.string())]), stages)
    assert "stage 'second': operator 'embed' reads pixels" in str(error.value)
    assert "columns there: uri, image_bytes" in str(error.value)
