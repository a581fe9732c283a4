"""What the index of a column will weigh and take, by the arithmetic of its building."""

import time

import numpy as np
import pyarrow as pa

from jobs.planning.results import Expected, IndexPlan
from operators.vectors.apply import vector_type
from pipelines.index.model import ITERATIONS
from pipelines.index.plan import choose_metric, few, plan_indexes

_SIDE = 1024
_ROW_BYTES = 16
"""A vector's row id and factors in an index, besides its code."""
_SURE = 2.0
"""The range of the time is this factor to either side: it is arithmetic, and not tried."""


def index_plan(field: pa.Field, rows: int) -> IndexPlan:
    """The plan of the column that `field` is, for a table of so many rows."""
    element = vector_type(field.type)
    if few(rows, field.type):
        return IndexPlan(column=field.name, type=None, bytes=0.0, core_hours=None)
    metric = choose_metric(field, "auto")
    spec = plan_indexes(field, wanted="auto", metric=metric, rows=rows, seed=0, given={})[0]
    dim, partitions = element.list_size, spec.num_partitions
    bits = spec.num_bits if spec.type == "IVF_RQ" and spec.num_bits else element.value_type.bit_width
    multiplications = 2.0 * partitions * dim * (ITERATIONS * spec.sample_rows + rows)
    hours = multiplications / _multiplications_per_s() / 3600
    return IndexPlan(
        column=field.name,
        type=f"{spec.type}, {partitions:,} partitions" + (f", {spec.num_bits} bits" if spec.num_bits else ""),
        bytes=rows * (dim * bits / 8 + _ROW_BYTES) + 4.0 * partitions * dim,
        core_hours=Expected(value=hours, low=hours / _SURE, high=hours * _SURE),
    )


def _multiplications_per_s() -> float:
    """Float32 operations a second of one core in a matrix product: its CPU time counts, not the clock's."""
    one = np.random.default_rng(0).normal(size=(_SIDE, _SIDE)).astype(np.float32)
    # The first call starts the library's threads.
    one @ one
    started = time.process_time()
    for _ in range(3):
        one @ one
    return 3 * 2.0 * _SIDE**3 / max(time.process_time() - started, 1e-3)
