"""Where a table, its failures and its run files lie, all from the one name that the user gives."""

import os
import re
from dataclasses import dataclass

from operators.storage.uris import OBJECT_SCHEMES, split_uri
from pipelines.table.errors import RefusedError

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")
_RESERVED = ("__failures", "__deleted", "__duplicates", "__runs", "__artifacts")
_READ_OTHERWISE = re.compile(r"[#?\\\x00-\x1f\x7f]|%[0-9A-Fa-f]{2}|(?<![^/])\.{0,2}(?=/)")
"""What a bucket's key may hold and Lance 13 takes for something else, as the rest of Pixlake does not: the beginning of
a fragment or a query, another slash, an escaped character, a part that names no folder of its own."""


@dataclass(frozen=True, kw_only=True)
class TableNames:
    """URIs of all that belongs to one table; local paths are absolute, since workers run in other folders.

    The layout is LanceDB's: `database` is what `lancedb.connect` opens, `name` what `open_table` takes.
    """

    database: str
    name: str

    @classmethod
    def from_table(cls, table: str) -> "TableNames":
        """The names for `DB/NAME`: `./lake/photos`, `s3://bucket/lake/photos`. Raises `RefusedError` for a bad name."""
        stem = table.strip().rstrip("/").removesuffix(".lance")
        scheme, bucket, key = split_uri(stem)
        if scheme == "file":
            folder, name = os.path.split(os.path.abspath(os.path.expanduser(key)))
        elif scheme in OBJECT_SCHEMES:
            _check_read_alike(table, key)
            folder, _, name = f"{scheme}://{bucket}/{key}".rpartition("/")
        else:
            raise RefusedError(f"table {table!r}: tables lie on local disk or s3://, gs://, az://, not {scheme}://")
        if not stem or not _NAME.fullmatch(name) or name.endswith(_RESERVED):
            raise RefusedError(
                f"table {table!r}: the name {name!r} after the last / must be letters, digits, _ - and ., not begin "
                f"with - or . and not end in {', '.join(_RESERVED[:-1])} or {_RESERVED[-1]}; for example ./lake/photos"
            )
        return cls(database=folder, name=name)

    @property
    def vectors(self) -> str:
        return f"{self.database.rstrip('/')}/{self.name}.lance"

    @property
    def failures(self) -> str:
        return f"{self.database.rstrip('/')}/{self.name}__failures.lance"

    @property
    def deleted(self) -> str:
        """URI of the table of takedowns. `--overwrite` leaves it: a takedown is about images, not about one table of
        them."""
        return f"{self.database.rstrip('/')}/{self.name}__deleted.lance"

    @property
    def duplicates(self) -> str:
        """URI of the table of duplicates, made anew by each `pixlake duplicates`."""
        return f"{self.database.rstrip('/')}/{self.name}__duplicates.lance"

    @property
    def runs(self) -> str:
        """The folder of run files; one sub-folder per run id."""
        return f"{self.database.rstrip('/')}/{self.name}__runs"

    @property
    def artifacts(self) -> str:
        """The folder of artifacts fitted on the table's vectors. `--overwrite` leaves it: other tables may use them."""
        return f"{self.database.rstrip('/')}/{self.name}__artifacts"


def _check_read_alike(table: str, key: str) -> None:
    """Raises `RefusedError` for a key that Lance and LanceDB read as another one: the data of two tables could meet in
    one place, or lie apart from their own runs."""
    found = _READ_OTHERWISE.search(key)
    if found:
        held = f"{found[0]!r}" if found[0].strip(".") else f"the part {found[0]!r} between two slashes"
        raise RefusedError(
            f"table {table!r}: its address holds {held}, which Lance and LanceDB read as something else, so that its "
            "data would lie elsewhere; name a folder without # ? \\ and control characters, without % before two "
            "digits (write the character itself) and without empty, . or .. parts"
        )
