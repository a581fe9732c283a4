"""The types of the used columns over all files of a manifest, of which some may say nothing."""

from collections.abc import Sequence
from typing import NoReturn

import pyarrow as pa

from operators.storage.redact import redact_uri
from operators.storage.stores import StorageOptions
from pipelines.manifests.columns.agree import TypesDifferError, common_type
from pipelines.manifests.columns.ids import IdError, id_kind
from pipelines.manifests.columns.values import check_fits, check_float_ids
from pipelines.manifests.files import SourceFile
from pipelines.manifests.kept_types import KeptTypeError, is_text, stored_column_type
from pipelines.manifests.manifest import SourceError
from pipelines.manifests.parquet import Footer


class ColumnTypes:
    """The columns of files that belong together. A file in which a column has no value says nothing of its type."""

    def __init__(self, parts: Sequence[tuple[SourceFile, Footer]], storage: StorageOptions) -> None:
        self._parts = parts
        self.files = [file for file, _ in parts]
        self._storage = storage
        self.schema = parts[0][1].schema
        """Of the first file."""
        self.where = redact_uri(parts[0][0].uri)

    def check_uri(self, name: str) -> None:
        for file, kind in self._types(name):
            if not is_text(kind):
                raise SourceError(
                    f"{redact_uri(file.uri)}: column {name!r} is {kind}, not string; name another with uri_column"
                )

    def check_id(self, name: str) -> pa.DataType:
        """The type of the ids, in the first file that has any. Raises `SourceError` unless each file's ids are texts,
        or each file's numbers, and so on."""
        types = self._types(name)
        kinds: dict[str | None, tuple[str, pa.DataType]] = {}
        for file, kind in types:
            where = redact_uri(file.uri)
            kinds.setdefault(check_id_type(name, kind, where), (where, kind))
        if len(kinds) > 1:
            _refuse(name, *list(kinds.values())[:2])
        check_float_ids([file for file, kind in types if _is_floating(kind)], name, self._storage)
        return types[0][1] if types else pa.null()

    def stored_type(self, name: str) -> pa.DataType:
        """The type in which the table holds a kept column."""
        return stored_type(name, self.common_type(name), self.where)

    def common_type(self, name: str) -> pa.DataType:
        """The type that holds the column's values of all files. Raises `SourceError` where there is none."""
        types = self._types(name)
        if not types:
            return self.schema.field(name).type
        common = types[0][1]
        for file, kind in types[1:]:
            try:
                common = common if kind == common else common_type(common, kind)
            except TypesDifferError:
                if not _stored_alike(common, kind):
                    _refuse(name, (redact_uri(types[0][0].uri), common), (redact_uri(file.uri), kind))
        check_fits(types, name, common, self._storage)
        return common

    def _types(self, name: str) -> list[tuple[SourceFile, pa.DataType]]:
        """The column's type in each file that has a value of it. Raises `SourceError` where a file has no such
        column."""
        types = []
        for file, footer in self._parts:
            if footer.schema.names.count(name) != 1:
                raise SourceError(
                    f"{redact_uri(file.uri)}: no column {name!r}, which {self.where} has; columns there: "
                    f"{', '.join(footer.schema.names)}. embed files that differ in runs of their own"
                )
            kind = footer.schema.field(name).type
            if name not in footer.all_null and not pa.types.is_null(kind):
                types.append((file, kind))
        return types


def stored_type(name: str, kind: pa.DataType, where: str) -> pa.DataType:
    """The type in which the table holds a column of the type. Raises `SourceError` where it can hold it in none."""
    try:
        return stored_column_type(kind)
    except KeptTypeError as error:
        raise SourceError(f"{where}: column {name!r} is {kind}: {error}") from None


def check_id_type(name: str, kind: pa.DataType, where: str) -> str | None:
    """What the ids of a column are: see `id_kind`. Raises `SourceError` for a type that holds no ids."""
    try:
        return id_kind(kind)
    except IdError as error:
        raise SourceError(f"{where}: id_column {name!r} is {error}") from None


def _is_floating(kind: pa.DataType) -> bool:
    return bool(pa.types.is_floating(kind.value_type if pa.types.is_dictionary(kind) else kind))


def _stored_alike(first: pa.DataType, second: pa.DataType) -> bool:
    """Whether the table stores both as one type, which is no widening: JSON as an Arrow extension is text there."""
    try:
        return bool(stored_column_type(first) == stored_column_type(second))
    except KeptTypeError:
        return False


def _refuse(name: str, first: tuple[str, pa.DataType], second: tuple[str, pa.DataType]) -> NoReturn:
    raise SourceError(
        f"column {name!r} is {first[1]} in {first[0]} and {second[1]} in {second[0]}; write the files with one type"
    )
