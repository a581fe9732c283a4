"""Ids and kept columns of images in tars: from the Parquet file beside each tar, or from the tar's own members."""

import contextlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import obstore
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from operators.storage.redact import redact_uri
from operators.storage.stores import StorageOptions, object_store
from operators.storage.uris import file_version
from pipelines.manifests.columns.ids import IdError, id_texts
from pipelines.manifests.columns.texts import text_array
from pipelines.manifests.columns.types import ColumnTypes
from pipelines.manifests.files import SourceFile, file_info
from pipelines.manifests.kept_names import check_names, kept_as
from pipelines.manifests.manifest import SourceConfig, SourceError, check_columns
from pipelines.manifests.parquet import Footer, read_footers
from pipelines.manifests.tars.notes import TarNotes
from pipelines.manifests.tars.samples import KEY, SampleImage, ids_of, read_names, value_of
from pipelines.manifests.tars.streams import tar_streams

_STATUS, _SUCCESS = "status", "success"
_THREADS = 16


@dataclass(frozen=True)
class TarColumns:
    """What is asked for of each image, and where it is said."""

    id: str | None
    kept: tuple[pa.Field, ...]
    """Kept columns with their names in the table, and the types in which they are read."""
    names: tuple[str, ...]
    """The kept columns' names where they are said."""
    beside: dict[str, SourceFile]
    """Tar -> its Parquet file; empty where the members say what is asked for."""

    @property
    def asked_of_members(self) -> tuple[str, ...]:
        """Names to look for among the members. None where Parquet files say all."""
        return () if self.beside else tuple(name for name in (self.id, *self.names) if name not in (None, KEY))

    def arrays(self, images: Sequence[SampleImage], rows: "KeyedRows | None") -> tuple[list[pa.Array], dict[int, str]]:
        """(the id (string) and the kept columns, a value for each image; the indices of images without an id, and
        why)."""
        if rows is not None:
            return rows.take([image.sample.key for image in images]), {}
        if self.id is None and not self.names:
            return [pa.nulls(len(images), pa.string())], {}
        said = [(image.sample, image.ending) for image in images]
        ids, problems = ids_of(said, self.id)
        values = [[value_of(sample, ending, name) for sample, ending in said] for name in self.names]
        return [text_array(each) for each in (ids, *values)], problems


class KeyedRows:
    """The rows of the Parquet file beside a tar, found by key."""

    def __init__(self, table: pa.Table, columns: TarColumns, notes: TarNotes) -> None:
        """Raises `ArrowInvalid` where a value does not fit its column, `IdError` where one is no id."""
        self._keys = table[KEY].combine_chunks().cast(pa.string())
        ids = pa.nulls(table.num_rows, pa.string())
        if columns.id is not None:
            ids, broken = id_texts(table[columns.id].combine_chunks())
            ids = pc.if_else(pc.is_in(pa.array(range(len(ids))), pa.array(broken, pa.int64())), None, ids)
        kept = [table[name].combine_chunks() for name in columns.names]
        self._columns = [ids, *(_as_type(array, f.type) for array, f in zip(kept, columns.kept, strict=True))]
        self._notes = notes
        self._is_asked = columns.id is not None or bool(columns.names)

    def take(self, keys: Sequence[str]) -> list[pa.Array]:
        """The id and the kept columns of each key; null where the file does not have it."""
        rows = pc.index_in(pa.array(keys, pa.string()), value_set=self._keys)
        if self._is_asked:
            self._notes.without_row(rows.null_count)
        return [array.take(rows) for array in self._columns]


def _as_type(array: pa.Array, kind: pa.DataType) -> pa.Array:
    """An array without values may have had any type."""
    return pa.nulls(len(array), kind) if array.null_count == len(array) else array.cast(kind)


def choose_tar_columns(
    tars: Sequence[SourceFile], others: Sequence[SourceFile] | None, config: SourceConfig, storage: StorageOptions
) -> TarColumns:
    """The columns that are asked for. `others` are the files that lie around the tars; None where nobody has listed
    them.

    Raises `SourceError` where a column is missing, or has a name or a type that no table can hold.
    """
    check_names(config)
    beside = _beside(tars, others, storage)
    names = kept_as(config)
    if beside:
        types = _types_beside([beside[tar.uri] for tar in tars], config, storage)
        if KEY in types.schema.names:
            check_columns(types.schema.names, config, types.where)
            if config.id_column is not None:
                types.check_id(config.id_column)
            kept = tuple(pa.field(names[name], types.stored_type(name)) for name in config.keep)
            return TarColumns(config.id_column, kept, config.keep, beside)
    if config.id_column is not None or config.keep:
        names_there = _names_of_members(tars, config, storage)
        check_columns(names_there, config, f"the members of {redact_uri(tars[0].uri)}")
    kept = tuple(pa.field(names[name], pa.string()) for name in config.keep)
    return TarColumns(config.id_column, kept, config.keep, {})


def _types_beside(files: Sequence[SourceFile], config: SourceConfig, storage: StorageOptions) -> ColumnTypes:
    """The types in the first files, of as many as it takes until each column has a value: a request for each of 100,000
    tars would be minutes of every start."""
    parts: list[tuple[SourceFile, Footer]] = []
    asked = {*config.keep, *([config.id_column] if config.id_column else [])}
    for start in range(0, len(files), _THREADS):
        some = files[start : start + _THREADS]
        read = [pair for pair in zip(some, read_footers(some, config, storage), strict=True) if pair[1].rows]
        parts += read
        asked -= {name for _, footer in read for name in asked if _tells(footer, name)}
        if parts and not asked:
            break
    return ColumnTypes(parts or [(files[0], read_footers(files[:1], config, storage)[0])], storage)


def _tells(footer: Footer, name: str) -> bool:
    """Whether a file has the column, with a value; true also where it should have it, and has not."""
    if name not in footer.schema.names:
        return True
    return name not in footer.all_null and not pa.types.is_null(footer.schema.field(name).type)


def read_beside(columns: TarColumns, tar: SourceFile, storage: StorageOptions, notes: TarNotes) -> KeyedRows | None:
    """The rows beside a tar, the used columns only; None where the members say what is asked for."""
    if not columns.beside:
        return None
    file = columns.beside[tar.uri]
    store, path = object_store(file.uri, storage)
    result = obstore.get(store, path)
    where = redact_uri(file.uri)
    if "://" in file.uri:
        meta = result.meta
        if file_version(meta["size"], meta["e_tag"] or meta["last_modified"]) != file.version:
            raise SourceError(f"{where} was replaced while it was read; start the run again")
    try:
        parquet = pq.ParquetFile(pa.BufferReader(result.bytes()))
        wished = [KEY, *columns.names, *([columns.id] if columns.id else [])]
        if not parquet.metadata.num_rows:
            # It may not even have the columns.
            return KeyedRows(pa.table({name: pa.nulls(0) for name in wished}), columns, notes)
        missing = [name for name in wished if name not in parquet.schema_arrow.names]
        if missing:
            raise SourceError(f"{where}: no column {missing[0]!r}, which the Parquet files beside other tars have")
        if _STATUS in parquet.schema_arrow.names:
            wished.append(_STATUS)
        table = parquet.read(columns=list(dict.fromkeys(wished)))
        if _STATUS in table.column_names:
            notes.not_fetched(pc.sum(pc.not_equal(table[_STATUS].cast(pa.string()), _SUCCESS)).as_py() or 0)
        return KeyedRows(table, columns, notes)
    except IdError as error:
        raise SourceError(f"{where}: id_column {columns.id!r} holds {error}") from None
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise SourceError(
            f"{where}: cannot be read beside its tar ({error}); write it again, or take it away"
        ) from error


def _beside(
    tars: Sequence[SourceFile], others: Sequence[SourceFile] | None, storage: StorageOptions
) -> dict[str, SourceFile]:
    """Tar -> the Parquet file of its name; empty unless every tar has one."""
    wanted = {tar.uri: f"{tar.uri.removesuffix(tar.uri[-4:])}.parquet" for tar in tars}
    if others is None:
        with ThreadPoolExecutor(_THREADS) as threads:
            looked = threads.map(lambda uri: _look_for(uri, storage), wanted.values())
            known = {file.uri: file for file in looked if file is not None}
    else:
        known = {file.uri: file for file in others}
    found = {tar: known[uri] for tar, uri in wanted.items() if uri in known}
    return found if len(found) == len(tars) else {}


def _look_for(uri: str, storage: StorageOptions) -> SourceFile | None:
    try:
        return file_info(uri, storage)
    except SourceError:
        return None


def _names_of_members(tars: Sequence[SourceFile], config: SourceConfig, storage: StorageOptions) -> list[str]:
    """What the members of the first tar that has any say of its images, read until all that is asked for has come."""
    asked = {*config.keep, *([config.id_column] if config.id_column else [])}
    for tar in tars:
        with contextlib.closing(tar_streams([tar], storage)) as streams:
            if names := read_names(*next(streams), asked):
                return names
    return [KEY]
