"""The main pipeline as plain data: which stage runs what, what comes out, and what cannot be planned."""

from collections.abc import Sequence
from typing import Any

import pyarrow as pa
import pytest

from operators.base.errors import PlanError
from operators.decode import DecodeOptions
from operators.fetching.options import FetchOptions
from operators.models.load import describe
from operators.models.spec import ModelDescription, parse_model_name
from operators.normalize import NormalizeOptions
from operators.regions.options import GridOptions
from operators.storage.stores import NO_OPTIONS, StorageOptions
from pipelines.embedding.chain import operator_chain
from pipelines.embedding.columns import Options, VectorColumn
from pipelines.embedding.image_embedding import OPERATORS, _parts, arrange, image_embedding
from pipelines.manifests.manifest import Columns, Manifest
from pipelines.run.cluster import ClusterConfig, StageConfig
from pipelines.run.stage import BlockParts, Stage, fold_schema
from pipelines.sources.source import Source
from pipelines.space.field import read_space, vector_columns
from pipelines.space.record import space_digest
from pipelines.table.names import TableNames

MODEL = describe(parse_model_name("null"))
GRID = GridOptions(kind="grid", rows=2, columns=2)
LARGE = {"height": 4000, "width": 4000}
ALONE = [VectorColumn(name="vector", model=MODEL, precision="float32")]
TWO = (
    StageConfig(name="preprocess", operators=("fetch", "decode"), num_actors=3),
    StageConfig(name="embed", operators=("embed", "normalize"), num_gpus=1.0),
)
ONE = (StageConfig(name="all", operators=OPERATORS),)
MANIFEST = Manifest(
    digest="d", uri="s3://b/m.parquet", shards=(), num_rows=0, columns=Columns(kept=(pa.field("label", pa.string()),))
)


def chain(columns: Sequence[VectorColumn] = ALONE, **normalize: Any) -> Any:
    options = Options(fetch=FetchOptions(), decode=DecodeOptions(), normalize=NormalizeOptions(**normalize))
    cluster = ClusterConfig(stages=ONE, batch_size=7, num_threads=2)
    return operator_chain(columns, options, cluster)


def pipeline(stages: tuple[Stage, ...], columns: Sequence[VectorColumn] = ALONE) -> Any:
    return image_embedding(
        manifest=MANIFEST,
        columns=columns,
        stages=stages,
        names=TableNames.from_table("/lake/photos"),
        images=NO_OPTIONS,
        table=NO_OPTIONS,
    )


def test_the_chain_has_every_operator_in_order_with_the_clusters_settings() -> None:
    made = chain()
    assert tuple(made) == OPERATORS == tuple(config.name for [config] in made.values())
    [embed], [decode] = made["embed"], made["decode"]
    assert (embed.batch_size, embed.num_threads) == (7, 2)
    assert decode.targets == {"pixels": MODEL.preprocess}


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
    (one, records), (two, same) = pipeline(arrange(chain(), ONE)), pipeline(arrange(chain(), TWO))
    assert records == same
    assert one.sink.vectors_schema.equals(two.sink.vectors_schema, check_metadata=True)


def test_the_table_has_the_models_dim_the_kept_columns_and_the_space() -> None:
    made, records = pipeline(arrange(chain(dtype="float32"), TWO))
    record = records["vector"]
    schema = made.sink.vectors_schema
    assert schema.field("vector").type == pa.list_(pa.float32(), MODEL.dim)
    assert {"shard", "row", "id", "uri", "label", "width", "height", "format", "sha256"} <= set(schema.names)
    assert not {"pixels", "image_bytes", "requests", "error_class"} & set(schema.names)
    assert read_space(schema.field("vector"), "t") == (record, MODEL)
    assert set(record) == {"decode", "embed", "normalize"}
    assert record["normalize"] == {"l2": True, "dtype": "float32"}


def test_what_decides_a_vector_decides_the_digest() -> None:
    digests = {
        space_digest(pipeline(arrange(chain(**n), ONE))[1]["vector"]) for n in ({}, {"l2": False}, {"dtype": "float32"})
    }
    assert len(digests) == 3


def test_a_column_that_no_operator_gives_is_named() -> None:
    made = chain()
    stages = (
        Stage(name="first", operators=made["fetch"], resources=TWO[0].resources()),
        Stage(name="second", operators=made["embed"], resources=TWO[0].resources()),
    )
    with pytest.raises(PlanError) as error:
        fold_schema(pa.schema([("uri", pa.string())]), stages)
    assert "stage 'second': operator 'embed' reads pixels" in str(error.value)
    assert "columns there: uri, image_bytes" in str(error.value)


def resized(size: int, **changes: Any) -> ModelDescription:
    """The null model at another size: what only its preprocessing tells apart."""
    own = {"height": size, "width": size, "resize_height": size, "resize_width": size, **changes}
    return MODEL.model_copy(update={"preprocess": MODEL.preprocess.model_copy(update=own)})


def columns_of(**models: ModelDescription) -> list[VectorColumn]:
    return [VectorColumn(name=f"vector_{n}", model=m, precision="float32") for n, m in models.items()]


THREE = columns_of(small=resized(64), alike=resized(64, mean=(0.5, 0.5, 0.5)), large=resized(96))


def test_models_share_fetch_decode_and_pixels_that_are_alike() -> None:
    made = chain(THREE)
    assert [len(configs) for configs in made.values()] == [1, 1, 3, 3]
    [decode] = made["decode"]
    assert list(decode.targets) == ["pixels_vector_small", "pixels_vector_large"]
    assert [target.height for target in decode.targets.values()] == [64, 96]
    pixels = ["pixels_vector_small", "pixels_vector_small", "pixels_vector_large"]
    assert [(e.column, e.pixels) for e in made["embed"]] == [(c.name, p) for c, p in zip(THREE, pixels, strict=True)]
    assert [config.column for config in made["normalize"]] == [column.name for column in THREE]


def test_one_target_is_called_pixels_however_many_read_it() -> None:
    made = chain(THREE[:2])
    assert list(made["decode"][0].targets) == ["pixels"]
    assert [config.keep_pixels for config in made["embed"]] == [True, False]


def test_weights_are_read_with_the_options_of_the_images() -> None:
    storage = StorageOptions(region="eu-central-1")
    options = Options(fetch=FetchOptions(storage=storage), decode=DecodeOptions(), normalize=NormalizeOptions())
    made = operator_chain(THREE, options, ClusterConfig(stages=ONE))
    assert [config.storage for config in made["embed"]] == [storage] * 3  # type: ignore[attr-defined]


def test_no_pixels_outlive_their_last_reader() -> None:
    stages = arrange(chain(THREE), TWO)
    schema = fold_schema(Source(columns=Columns()).schema(), stages[:1])
    after = []
    for operator in stages[1].operators:
        schema = operator.output_schema(schema)
        after.append({name for name in schema.names if name.startswith("pixels")})
    small, large = {"pixels_vector_small"}, {"pixels_vector_large"}
    assert after == [small | large, large, set(), set(), set(), set()]


def test_a_space_is_the_same_alone_and_beside_others() -> None:
    _, together = pipeline(arrange(chain(THREE), TWO), THREE)
    for column in THREE:
        alone = [VectorColumn(name="vector", model=column.model, precision="float32")]
        _, records = pipeline(arrange(chain(alone), ONE), alone)
        assert space_digest(records["vector"]) == space_digest(together[column.name])
    assert len({space_digest(record) for record in together.values()}) == 3


def test_each_vector_column_carries_its_own_space() -> None:
    made, records = pipeline(arrange(chain(THREE), TWO), THREE)
    schema = made.sink.vectors_schema
    assert vector_columns(schema) == [column.name for column in THREE]
    for column in THREE:
        assert read_space(schema.field(column.name), "t") == (records[column.name], column.model)
    assert not [name for name in schema.names if name.startswith("pixels")]


def test_pixels_that_a_stage_uses_up_are_there_for_a_part_of_a_block_in_whole_passes() -> None:
    def parts(made: Any, stages: Sequence[StageConfig]) -> list[BlockParts | None]:
        return [stage.parts for stage in pipeline(arrange(made, stages))[0].stages]

    # 24 MiB are 167 images of 224 x 224: 23 passes of 7.
    assert parts(chain(), ONE) == [BlockParts(first=1, rows=161)]
    assert parts(chain(), TWO) == [None, None]
    on_gpu = {**chain(), "embed": tuple(each.model_copy(update={"device": "cuda"}) for each in chain()["embed"])}
    assert parts(on_gpu, ONE) == [None]
    cut = {**chain(), "decode": tuple(each.model_copy(update={"regions": GRID}) for each in chain()["decode"])}
    assert _parts(arrange(cut, ONE)[0].operators) is None
    large = chain()["decode"][0].model_copy(update={"targets": {"pixels": MODEL.preprocess.model_copy(update=LARGE)}})
    assert _parts(arrange({**chain(), "decode": (large,)}, ONE)[0].operators) == BlockParts(first=1, rows=7)
