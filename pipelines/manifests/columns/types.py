"""The types of the used columns over all files of a manifest, of which some may say nothing."""

from collections.abc import Callable, Sequence
from typing import NoReturn, TypeVar

import pyarrow as pa

from operators.storage.redact import redact_uri
from operators.storage.stores import StorageOptions
from pipelines.manifests.columns.agree import TypesDifferError, common_type
from pipelines.manifests.columns.ids import IdError, id_kind
from pipelines.manifests.columns.values import check_fits, check_float_ids, with_values
from pipelines.manifests.files import SourceFile
from pipelines.manifests.kept_types import KeptTypeError, is_text, stored_column_type
from pipelines.manifests.manifest import SourceError
from pipelines.manifests.parquet import Footer

_Types = list[tuple[SourceFile, pa.DataType]]
_Agreed = TypeVar("_Agreed")


class ColumnTypes:
    """The columns of files that belong together. A file in which a column has no value says nothing of its type:
    statistics say so, and where types differ the values do."""

    def __init__(self, parts: Sequence[tuple[SourceFile, Footer]], storage: StorageOptions) -> None:
        self._parts = parts
        self.files = [file for file, _ in parts]
        self._storage = storage
        self.schema = parts[0][1].schema
        """Of the first file."""
        self.where = redact_uri(parts[0][0].uri)

    def check_uri(self, name: str) -> None:
        self._agreed(name, _check_texts)

    def check_id(self, name: str) -> pa.DataType:
        """The type of the ids, in the first file that has any. Raises `SourceError` unless each file's ids are texts,
        or each file's numbers, and so on."""
        types, first = self._agreed(name, _id_type)
        check_float_ids([file for file, kind in types if _is_floating(kind)], name, self._storage)
        return first

    def stored_type(self, name: str) -> pa.DataType:
        """The type in which the table holds a kept column."""
        return stored_type(name, self.common_type(name), self.where)

    def common_type(self, name: str) -> pa.DataType:
        """The type that holds the column's values of all files. Raises `SourceError` where there is none."""
        types, common = self._agreed(name, _common_type)
        if not types:
            return self.schema.field(name).type
        check_fits(types, name, common, self._storage)
        return common

    def _agreed(self, name: str, agree: Callable[[str, _Types], _Agreed]) -> tuple[_Types, _Agreed]:
        """(the column's types that count, what `agree` makes of them). Where it refuses, the values are asked as well:
        statistics may be missing, and of lists and structs they do not say whether there is one."""
        types = self._types(name)
        try:
            return types, agree(name, types)
        except SourceError:
            valued = with_values([file for file, _ in types], name, self._storage)
            types = [(file, kind) for file, kind in types if file in valued]
            return types, agree(name, types)

    def _types(self, name: str) -> _Types:
        """The column's type in each file, but those whose statistics say that it has no value. Raises `SourceError`
        where a file has no such column."""
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


def _check_texts(name: str, types: _Types) -> None:
    for file, kind in types:
        if not is_text(kind):
            raise SourceError(
                f"{redact_uri(file.uri)}: column {name!r} is {kind}, not string; name another with uri_column"
            )


def _id_type(name: str, types: _Types) -> pa.DataType:
    kinds: dict[str | None, tuple[str, pa.DataType]] = {}
    for file, kind in types:
        where = redact_uri(file.uri)
        kinds.setdefault(check_id_type(name, kind, where), (where, kind))
    if len(kinds) > 1:
        _refuse(name, *list(kinds.values())[:2])
    return types[0][1] if types else pa.null()


def _common_type(name: str, types: _Types) -> pa.DataType:
    common = types[0][1] if types else pa.null()
    for file, kind in types[1:]:
        try:
            common = common if kind == common else common_type(common, kind)
        except TypesDifferError:
            if not _stored_alike(common, kind):
                _refuse(name, (redact_uri(types[0][0].uri), common), (redact_uri(file.uri), kind))
    return common


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
