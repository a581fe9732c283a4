"""Whether rows of a run may go beside those of a table: spaces, canaries and reductions compared."""

import shlex
from collections.abc import Mapping, Sequence, Set
from typing import NamedTuple

import pyarrow as pa

from operators.base.columns import VECTOR
from operators.models.canaries import check_canaries
from pipelines.space.field import SpaceError, read_canaries, read_reduction, read_reductions, read_space, vector_columns
from pipelines.space.record import Record, base_record, differences, reduced_record
from pipelines.space.reduction import reduction_chain

_HOW_IT_RUNS = frozenset({"embed.precision", "embed.backend"})
"""Of the same model: a column of its own would hold nearly the same vectors."""


class ModelArguments(NamedTuple):
    """How a command names a model."""

    arguments: str
    """`--model NAME`, and `--set model.KEY=VALUE` for what differs from the defaults; quoted for a shell."""
    name: str
    """What a column of its own may be called after it."""


def check_spaces(
    schema: pa.Schema, records: Mapping[str, Record], table: str, models: Mapping[str, ModelArguments] | None = None
) -> None:
    """Raises `SpaceError` unless the table has the vector columns of the run, each with the same space, and no others
    but derived ones, which `pixlake reduce` can add and fill at any time.

    `models`: vector column of the run -> how a command names its model, for the error.
    """
    there, named = vector_columns(schema), models or {}
    own = set(there) - set(read_reductions(schema))
    if not set(records) <= set(there) or own - set(records):
        ways = [f"\n  {_add_column(table, named[column])}" for column in records if column in named.keys() - own]
        raise SpaceError(
            f"table {table}: its vector columns are {', '.join(sorted(there)) or 'none'}; this run would write "
            f"{', '.join(sorted(records))}. Vectors of another model cannot be added to rows that are there: use the "
            "table's own models under their names (`pixlake describe` shows them), or another table" + "".join(ways)
        )
    for column, record in records.items():
        lines = differences(read_space(schema.field(column), table)[0], record)
        if lines:
            ways = _ways_to(table, named[column], column if len(own) > 1 else None) if column in named else []
            raise _differs(lines, table, column, ways)


def check_same_spaces(there: pa.Schema, ours: pa.Schema, table: str) -> None:
    """Raises `SpaceError` or `CanaryError` unless rows of the schema `ours` belong into a table of the schema `there`.

    For use right before the first write: another run may have made the table since this one was planned.
    """
    columns = vector_columns(ours)
    check_spaces(there, {name: read_space(ours.field(name), table)[0] for name in columns}, table)
    for name in columns:
        made_with, here = read_canaries(there.field(name)), read_canaries(ours.field(name))
        if made_with is not None and here is not None:
            model = read_space(ours.field(name), table)[1].spec.name
            check_canaries(made_with, here.to_numpy(), name=model, device=here.device, backend=here.backend)


def check_reduction(field: pa.Field, table: str) -> None:
    """Raises `SpaceError` where this Pixlake would derive other values from a base column than the derived one
    holds."""
    reduction = read_reduction(field)
    if reduction is not None:
        there, _ = read_space(field, table)
        ours = reduced_record(base_record(there), reduction_chain(reduction, field.name), field.name)
        check_space(there, ours, table, field.name)


def check_space(table_record: Record, run_record: Record, table: str, column: str = VECTOR) -> None:
    """Raises `SpaceError`, naming each field that differs."""
    lines = differences(table_record, run_record)
    if lines:
        raise _differs(lines, table, column)


def _differs(lines: Sequence[str], table: str, column: str, ways: Sequence[str] = ()) -> SpaceError:
    """`ways`: what can be done with another model in this table."""
    which = "its vectors mean" if column == VECTOR else f"the vectors of {column} mean"
    fields = {line.partition(":")[0] for line in lines}
    another = "decode.decoder" not in fields and any(
        field.startswith("embed.") and field not in _HOW_IT_RUNS for field in fields
    )
    told = [f"table {table}: {which} something else than this run's would:", *lines, _remedy(fields)]
    return SpaceError("\n  ".join(told + (list(ways) if another else [])))


def _ways_to(table: str, model: ModelArguments, column: str | None) -> list[str]:
    """`column`: the one to replace, where models fill several."""
    which = f" --column {column}" if column else ""
    return [
        _add_column(table, model),
        f"To move the table to this model, measured first: pixlake swap {shlex.quote(table)} {model.arguments}{which}",
    ]


def _add_column(table: str, model: ModelArguments) -> str:
    command = f"pixlake add-column {shlex.quote(table)} {model.arguments} --name {model.name}"
    return f"For this model in a column of its own, beside what is there: {command}"


def _remedy(fields: Set[str]) -> str:
    if "decode.decoder" in fields:
        return (
            "The releases of Pixlake that made the table and that runs now give other pixels for some files: use the "
            "table's own release, or embed into another table"
        )
    if fields == {"decode.allow_truncated"}:
        return "Truncated images can be taken into a table of their own: docs/failures.md says how"
    return "Use the table's own model and settings (`pixlake describe` shows them), or another table"
