"""The table `NAME__duplicates`: written anew as one version, so that readers see the former one or the new one."""

from datetime import timedelta
from typing import Any, NamedTuple

import lance
import pyarrow as pa
import pyarrow.compute as pc

from operators.storage.stores import lance_options
from pipelines.duplicates.members import MEMBERS
from pipelines.scan.plain import plain_scan
from pipelines.table.fenced_table import FILE_FORMAT
from pipelines.table.table import Table, open_dataset

HOW_KEY = b"pixlake.duplicates"
"""Field metadata key of `group`: as JSON, all that the groups depend on."""
_ROWS = 65_536
_KEPT_VERSIONS = timedelta(days=14)


class Change(NamedTuple):
    """How the ids to drop differ from those of the table that was there."""

    before: int
    now: int
    new: int
    no_longer: int


def previous_drops(table: Table, name: str) -> pa.ChunkedArray | None:
    """Ids to drop, of the column `name`, of the table that is there; None where there is none, or where it is not
    ours."""
    dataset = open_dataset(table.names.duplicates, table.storage)
    if dataset is None or not {name, "drop"} <= set(dataset.schema.names):
        return None
    found = [batch[name].cast(pa.large_string()) for batch in plain_scan(dataset, [name], "`drop`")]
    return pa.chunked_array(found, pa.large_string())


def drops_of(members: pa.Table, name: str) -> pa.Array:
    """Ids to drop, of the column `name`, each once."""
    return pc.unique(members[name].filter(members["drop"]))


def change(before: pa.ChunkedArray, now: pa.Array) -> Change:
    before = pc.unique(before)
    both = int(pc.sum(pc.is_in(now, value_set=before)).as_py() or 0)
    return Change(before=len(before), now=len(now), new=len(now) - both, no_longer=len(before) - both)


def write_result(table: Table, members: pa.Table, made_from: dict[str, Any], how: str) -> int:
    """Put the members in the place of what is there; gives the table's new version. `made_from` are columns with one
    value, `how` is JSON. A kill leaves the former table whole. Raises `OSError`."""
    constant = {name: pa.scalar(value) for name, value in made_from.items()}
    fields = [pa.field(f.name, pa.string() if pa.types.is_large_string(f.type) else f.type) for f in MEMBERS]
    fields[0] = fields[0].with_metadata({HOW_KEY: how.encode()})
    schema = pa.schema([*fields, *(pa.field(name, value.type) for name, value in constant.items())])

    def batches() -> Any:
        for first in range(0, members.num_rows, _ROWS):
            rows = members.slice(first, _ROWS)
            arrays = [rows[field.name].cast(field.type).combine_chunks() for field in fields]
            arrays += [pa.repeat(value, rows.num_rows) for value in constant.values()]
            yield from pa.table(arrays, schema=schema).to_batches()

    uri = table.names.duplicates
    there = open_dataset(uri, table.storage)
    made = lance.write_dataset(
        pa.RecordBatchReader.from_batches(schema, batches()),
        uri,
        mode="create" if there is None else "overwrite",
        data_storage_version=FILE_FORMAT,
        storage_options=lance_options(uri, table.storage),
    )
    made.cleanup_old_versions(older_than=_KEPT_VERSIONS)
    return int(made.version)
