"""The chain of a derived column on vectors alone, without a run around it: for `reduce` and for queries."""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from operators.base.columns import ERROR, ERROR_FIELDS, good_rows
from operators.base.operator import Operator, OperatorConfig


class ReduceVectors:
    """Vectors of a base column to those of a derived column. Pickled as its configs, and built where it is first used.

    Without operators it gives what it gets.
    """

    def __init__(self, chain: Sequence[OperatorConfig], source: str, column: str) -> None:
        """`column` is what the chain makes of `source`; the same where there are no operators."""
        self.chain = tuple(chain)
        self.source = source
        self.column = column if chain else source
        self._operators: list[Operator[OperatorConfig]] | None = None

    def __getstate__(self) -> dict[str, object]:
        return {**self.__dict__, "_operators": None}

    def __call__(self, vectors: pa.Array) -> tuple[pa.Array, dict[int, str]]:
        """What the last operator makes, null where `vectors` is null or gives nothing; and why, by index."""
        if self._operators is None:
            self._operators = [config.build() for config in self.chain]
        present = np.flatnonzero(vectors.is_valid())
        kept = vectors.take(pa.array(present))
        schema = pa.schema([pa.field(self.source, vectors.type), *ERROR_FIELDS])
        table = pa.table([kept, *(pa.nulls(len(kept), f.type) for f in ERROR_FIELDS)], schema=schema)
        for operator in self._operators:
            table = operator(table)
        bad = np.flatnonzero(~good_rows(table).to_numpy())
        reasons = {int(present[index]): table[ERROR.name][int(index)].as_py() for index in bad}
        return _spread(table[self.column].combine_chunks(), present, len(vectors)), reasons


def _spread(values: pa.Array, places: np.ndarray, count: int) -> pa.Array:
    """The values at their places, null elsewhere."""
    if len(values) == count:
        return values
    index = np.zeros(count, np.int64)
    index[places] = np.arange(len(places))
    absent = np.ones(count, bool)
    absent[places] = False
    return values.take(pa.array(index, mask=absent))
