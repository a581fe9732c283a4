"""Whether rows of a run may go beside those of a table: spaces, canaries and reductions compared."""

from collections.abc import Mapping

import pyarrow as pa

from operators.base.columns import VECTOR
from operators.models.canaries import check_canaries
from pipelines.space.field import SpaceError, read_canaries, read_reduction, read_reductions, read_space, vector_columns
from pipelines.space.record import Record, base_record, differences, reduced_record
from pipelines.space.reduction import reduction_chain


def check_spaces(schema: pa.Schema, records: Mapping[str, Record], table: str) -> None:
    """Raises `SpaceError` unless the table has the vector columns of the run, each with the same space, and no others
    but derived ones, which `pixlake reduce` can add and fill at any time."""
    there = vector_columns(schema)
    if not set(records) <= set(there) or set(there) - set(records) - set(read_reductions(schema)):
        raise SpaceError(
            f"table {table}: its vector columns are {', '.join(sorted(there)) or 'none'}; this run would write "
            f"{', '.join(sorted(records))}. Vectors of another model cannot be added to rows that are there: use the "
            "table's own models under their names (`pixlake describe` shows them), or another table"
        )
    for column, record in records.items():
        check_space(read_space(schema.field(column), table)[0], record, table, column)


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
        which = "its vectors mean" if column == VECTOR else f"the vectors of {column} mean"
        raise SpaceError(
            f"table {table}: {which} something else than this run's would:\n  "
            + "\n  ".join(lines)
            + f"\n  {_remedy(lines)}"
        )


def _remedy(lines: list[str]) -> str:
    fields = {line.partition(":")[0] for line in lines}
    if "decode.decoder" in fields:
        return (
            "The releases of Pixlake that made the table and that runs now give other pixels for some files: use the "
            "table's own release, or embed into another table"
        )
    if fields == {"decode.allow_truncated"}:
        return "Truncated images can be taken into a table of their own: docs/failures.md says how"
    return "Use the table's own model and settings (`pixlake describe` shows them), or another table"
