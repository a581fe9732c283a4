"""Which indexes are tried for a column, from its type and size alone."""

import pyarrow as pa
import pytest

from operators.base.errors import UserError
from operators.storage.artifacts import ArtifactRef
from pipelines.index.plan import WantedType, choose_metric, few, plan_indexes
from pipelines.space.field import REDUCTION_KEY
from pipelines.space.flat import Metric
from pipelines.space.reduction import Reduction


def field(element: pa.DataType, dim: int = 64, *, several: bool = False) -> pa.Field:
    one = pa.list_(element, dim)
    return pa.field("vector", pa.list_(one) if several else one)


def plan(
    wanted: WantedType = "auto", element: pa.DataType | None = None, metric: Metric = "cosine", **given: int
) -> list[str]:
    made_of = field(element or pa.float16())
    specs = plan_indexes(made_of, wanted=wanted, metric=metric, rows=1_000_000, seed=0, given=given)
    return [" ".join([spec.type, *(f"{k}={v}" for k, v in spec.parameters.items())]) for spec in specs]


def test_auto_tries_the_smallest_first() -> None:
    assert plan() == [
        "IVF_RQ num_partitions=1000 num_bits=1",
        "IVF_RQ num_partitions=1000 num_bits=5",
        "IVF_SQ num_partitions=1000",
        "IVF_FLAT num_partitions=1000",
    ]
    assert plan(num_bits=2)[:2] == ["IVF_RQ num_partitions=1000 num_bits=2", "IVF_SQ num_partitions=1000"]
    assert plan(element=pa.uint8(), metric="hamming") == ["IVF_FLAT num_partitions=1000"]


def test_every_number_is_given_to_lance() -> None:
    assert plan("IVF_PQ") == ["IVF_PQ num_partitions=1000 num_sub_vectors=8 num_bits=8"]
    assert plan("IVF_HNSW_PQ", num_bits=4, m=10) == [
        "IVF_HNSW_PQ num_partitions=1 num_sub_vectors=8 num_bits=4 m=10 ef_construction=150"
    ]


def test_what_fits_no_index_is_refused() -> None:
    with pytest.raises(UserError, match="int8"):
        choose_metric(field(pa.int8()), "auto")
    with pytest.raises(UserError, match="hamming is for packed bits"):
        choose_metric(field(pa.float16()), "hamming")
    with pytest.raises(UserError, match="cosine only"):
        choose_metric(field(pa.float16(), several=True), "l2")
    with pytest.raises(UserError, match="packed bits are indexed as IVF_FLAT, not IVF_RQ"):
        plan("IVF_RQ", element=pa.uint8(), metric="hamming")
    with pytest.raises(UserError, match="7 sub-vectors"):
        plan("IVF_PQ", num_sub_vectors=7)
    with pytest.raises(UserError, match="multiple of 8"):
        plan_indexes(field(pa.float16(), 20), wanted="IVF_RQ", metric="cosine", rows=100, seed=0, given={})
    codes = Reduction(base="vector", base_dim=64, precision="pq", quantizer=ArtifactRef(uri="/a", sha256="0" * 64))
    with pytest.raises(UserError, match="index vector"):
        choose_metric(field(pa.uint8()).with_metadata({REDUCTION_KEY: codes.model_dump_json()}), "auto")
    assert choose_metric(field(pa.uint8()), "auto") == "hamming"


def test_few_is_a_matter_of_bytes() -> None:
    assert few(10_000, field(pa.float16(), 768).type)
    assert not few(10_000, field(pa.float32(), 768).type)
    assert few(100_000, field(pa.uint8(), 96).type)
