"""What every operator is: a frozen config declared on the driver, and a class built from it on the worker."""

from abc import ABC, abstractmethod
from typing import Any, ClassVar, Generic, Self, TypeVar

import pyarrow as pa
import pyarrow.compute as pc
from pydantic import BaseModel, ConfigDict

from operators.base.rows import good_rows


class OperatorConfig(BaseModel):
    """The declaration of one operator: validated and planned on the driver, pickled to the workers."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: ClassVar[str]
    """The verb: names the operator in plans, reports and the `stage` column of the failures table."""

    @property
    def reads(self) -> frozenset[str]:
        """Columns that must be in the input."""
        raise NotImplementedError

    def output_schema(self, schema: pa.Schema) -> pa.Schema:
        """The schema that comes out when `schema` goes in. Pure: the driver folds it over the plan."""
        raise NotImplementedError

    def space(self, column: str) -> dict[str, Any]:
        """What the operator decides about the meaning of `column`, JSON-ready; empty for a column that it does not
        make."""
        return {}

    def on_cores(self, cores: int) -> Self:
        """The same operator for a worker that has so many CPU cores; no result depends on it."""
        return self

    def build(self) -> "Operator[Any]":
        """The operator itself. Called on the worker; loads what is heavy."""
        raise NotImplementedError


C = TypeVar("C", bound=OperatorConfig)


class Operator(ABC, Generic[C]):
    """N rows in, the same N rows out, in the same order. Rows that failed earlier pass through untouched."""

    def __init__(self, config: C) -> None:
        self.config = config

    @abstractmethod
    def transform(self, batch: pa.Table) -> pa.Table:
        """The work, on good rows only. A row it fails gets its error columns filled (`rows.fail_rows`)."""

    def gains_by_many(self, batch: pa.Table) -> bool:
        """Whether it takes longer where the batch comes in parts, as what waits for answers does."""
        return False

    def close(self) -> None:
        """Release what `__init__` took beyond memory: processes, connections."""

    def __call__(self, batch: pa.Table) -> pa.Table:
        """`transform` on the good rows; failed rows are set aside before it and put back in their place after it."""
        expected = self.config.output_schema(batch.schema)
        good = good_rows(batch)
        if pc.all(good).as_py() is not False:
            return _checked(self.transform(batch), expected, batch.num_rows, self.config.name)
        kept = batch.filter(good)
        done = _checked(self.transform(kept), expected, kept.num_rows, self.config.name)
        failed = _conform(batch.filter(pc.invert(good)), expected)
        order = pc.sort_indices(pc.cast(good, pa.int8()), sort_keys=[("", "descending")])
        place = pc.sort_indices(order)
        return pa.concat_tables([done, failed]).take(place)


def _checked(table: pa.Table, expected: pa.Schema, num_rows: int, name: str) -> pa.Table:
    if table.num_rows != num_rows:
        raise RuntimeError(f"operator {name}: {num_rows} rows in, {table.num_rows} rows out")
    if not table.schema.equals(expected):
        raise RuntimeError(f"operator {name}: gave {table.schema}, declared {expected}")
    return table


def _conform(failed: pa.Table, schema: pa.Schema) -> pa.Table:
    """Failed rows in the output schema: columns that the operator adds are null, columns that it drops are gone."""
    columns = [
        failed[f.name].cast(f.type)
        if f.name in failed.column_names and failed.schema.field(f.name).type == f.type
        else pa.nulls(failed.num_rows, f.type)
        for f in schema
    ]
    return pa.Table.from_arrays(columns, schema=schema)
