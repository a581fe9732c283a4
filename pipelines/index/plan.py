"""Which indexes are tried for a column, and with which numbers: from declared facts, before anything is read."""

import math
from collections.abc import Mapping
from typing import Literal

import pyarrow as pa

from operators.base.errors import UserError
from operators.vectors.apply import vector_type
from pipelines.index.model import LEAST_SAMPLE, SAMPLES_PER_PARTITION, IndexSpec
from pipelines.index.records import IndexType
from pipelines.space.field import read_reduction
from pipelines.space.flat import Metric

WantedType = Literal["auto", IndexType]
WantedMetric = Literal["auto", Metric]

ENOUGH_TO_COMPARE = 16 << 20
"""Bytes of vectors up to which comparing with every row is fast enough: 25 MB of float16 took 10 ms, an index 4."""

BINARY_TYPES: tuple[IndexType, ...] = ("IVF_FLAT",)
"""Types for packed bits. Lance builds IVF_HNSW_FLAT too, and then LanceDB's `optimize()` panics at the next rows
(13.0.0)."""

VECTORS_PER_GRAPH = 1_000_000
"""Vectors of one partition with a graph, whose search takes about the logarithm of its size: few partitions, and large
ones."""

AUTO: tuple[tuple[IndexType, int | None], ...] = (("IVF_RQ", 1), ("IVF_RQ", 5), ("IVF_SQ", None), ("IVF_FLAT", None))
"""Type and bits, the smallest first: per vector dim / 8 bytes, 5 dim / 8, dim, and the vector itself."""


def few(rows: int, stored: pa.DataType) -> bool:
    """Whether comparing with every row is fast enough; `rows` counts vectors where a row has several."""
    element = vector_type(stored)
    size: int = element.list_size * element.value_type.bit_width // 8
    return rows * size < ENOUGH_TO_COMPARE


def choose_metric(field: pa.Field, wanted: WantedMetric) -> Metric:
    """The metric of the column's index. Raises `UserError` for a column that cannot be indexed, or not with this
    metric."""
    element = vector_type(field.type).value_type
    if not pa.types.is_floating(element) and not pa.types.is_uint8(element):
        raise UserError(
            f"column {field.name}: Lance indexes floats and packed bits, not {element}; search it by comparing, or "
            "index the column it was made from"
        )
    reduction = read_reduction(field)
    if reduction is not None and reduction.precision == "pq":
        raise UserError(f"column {field.name}: holds PQ codes, which no index compares; index {reduction.base}")
    metric: Metric = wanted if wanted != "auto" else "hamming" if pa.types.is_uint8(element) else "cosine"
    if (metric == "hamming") != pa.types.is_uint8(element):
        raise UserError(f"column {field.name}: holds {element}; hamming is for packed bits (uint8), and for them alone")
    if pa.types.is_list(field.type) and metric != "cosine":
        raise UserError(f"column {field.name}: several vectors a row are indexed by cosine only, not {metric}")
    return metric


def plan_indexes(
    field: pa.Field,
    *,
    wanted: WantedType,
    metric: Metric,
    rows: int,
    seed: int,
    given: Mapping[str, int],
) -> list[IndexSpec]:
    """The indexes to try, in this order. `given` are numbers that the user sets, by their names in `IndexSpec`.

    `rows` counts vectors where a row has several. Raises `UserError` for a type that the column cannot have, and for
    numbers that do not fit it.
    """
    dim = vector_type(field.type).list_size
    kinds: list[tuple[IndexType, int | None]]
    if metric == "hamming":
        kinds = [("IVF_FLAT" if wanted == "auto" else wanted, None)]
        if kinds[0][0] not in BINARY_TYPES:
            there = " or ".join(BINARY_TYPES)
            raise UserError(f"column {field.name}: packed bits are indexed as {there}, not {wanted}")
    elif wanted == "auto":
        kinds = [each for each in AUTO if each[0] != "IVF_RQ" or dim % 8 == 0]
    else:
        kinds = [(wanted, {"IVF_RQ": 1, "IVF_PQ": 8, "IVF_HNSW_PQ": 8}.get(wanted))]
    specs = [_spec(field.name, dim, kind, bits, metric, rows, seed, given) for kind, bits in kinds]
    return list(dict.fromkeys(specs))


def _spec(
    column: str,
    dim: int,
    kind: IndexType,
    num_bits: int | None,
    metric: Metric,
    rows: int,
    seed: int,
    given: Mapping[str, int],
) -> IndexSpec:
    product, graph = kind.endswith("_PQ"), "HNSW" in kind
    usual = math.ceil(rows / VECTORS_PER_GRAPH) if graph else max(1, round(math.sqrt(rows)))
    partitions = given.get("num_partitions", usual)
    sample = given.get("sample_rows", max(LEAST_SAMPLE, SAMPLES_PER_PARTITION * partitions))
    sub_vectors = given.get("num_sub_vectors", _largest_divisor(dim, dim // 8)) if product else None
    if kind == "IVF_RQ" and dim % 8:
        raise UserError(f"column {column}: IVF_RQ needs a multiple of 8 dimensions, these are {dim}; use IVF_SQ")
    if sub_vectors is not None and dim % sub_vectors:
        raise UserError(f"column {column}: {dim} dimensions cannot be cut into {sub_vectors} sub-vectors of one length")
    return IndexSpec(
        column=column,
        type=kind,
        metric=metric,
        num_partitions=partitions,
        num_sub_vectors=sub_vectors,
        num_bits=None if num_bits is None else given.get("num_bits", num_bits),
        m=given.get("m", 20) if graph else None,
        ef_construction=given.get("ef_construction", 150) if graph else None,
        sample_rows=min(sample, rows),
        seed=seed,
    )


def _largest_divisor(number: int, most: int) -> int:
    return max(each for each in range(1, max(most, 1) + 1) if number % each == 0)
