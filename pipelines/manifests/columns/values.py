"""The values of single columns, looked at before anything starts, where their types do not say whether they will do."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import pyarrow as pa
import pyarrow.parquet as pq

from operators.storage.redact import redact_uri
from operators.storage.stores import StorageOptions, filesystem
from pipelines.manifests.columns.agree import may_change
from pipelines.manifests.columns.ids import IdError, id_texts
from pipelines.manifests.files import SourceFile
from pipelines.manifests.manifest import SourceError

_BATCH_ROWS = 65_536
_BUFFER_BYTES = 4 << 20
_THREADS = 16


def check_float_ids(files: Sequence[SourceFile], name: str, storage: StorageOptions) -> None:
    """Raises `SourceError`, naming file and value, where a float of the column is no whole number."""

    def check(file: SourceFile) -> None:
        for array in _values(file, name, storage):
            if pa.types.is_floating(array.type):
                try:
                    id_texts(array)
                except IdError as error:
                    raise SourceError(
                        f"{redact_uri(file.uri)}: id_column {name!r} holds {error}; write it as string or integer"
                    ) from None

    _each(check, files)


def check_fits(
    files: Sequence[tuple[SourceFile, pa.DataType]], name: str, common: pa.DataType, storage: StorageOptions
) -> None:
    """Raises `SourceError`, naming file and value, where a value of the column would change in the type that is common
    to all files. Each file comes with the column's type in it."""

    def check(file: SourceFile) -> None:
        for array in _values(file, name, storage):
            try:
                (array.dictionary_decode() if pa.types.is_dictionary(array.type) else array).cast(common)
            except pa.ArrowInvalid as error:
                raise SourceError(
                    f"{redact_uri(file.uri)}: column {name!r} is {array.type} there and {common} in other files, which "
                    f"does not hold every value of it ({error}); write the files with one type"
                ) from None

    _each(check, [file for file, kind in files if may_change(kind, common)])


def with_values(files: Sequence[SourceFile], name: str, storage: StorageOptions) -> set[SourceFile]:
    """The files in which the column has a value; each is read up to the first."""

    def has_value(file: SourceFile) -> bool:
        return any(array.null_count < len(array) for array in _values(file, name, storage))

    with ThreadPoolExecutor(_THREADS) as threads:
        return {file for file, found in zip(files, threads.map(has_value, files), strict=True) if found}


def _each(check: Callable[[SourceFile], None], files: Sequence[SourceFile]) -> None:
    with ThreadPoolExecutor(_THREADS) as threads:
        list(threads.map(check, files))


def _values(file: SourceFile, name: str, storage: StorageOptions) -> Iterator[pa.Array]:
    opener, path = filesystem(file.uri, storage)
    cache = "readahead" if "://" in path else "none"
    with (
        opener.open(path, "rb", cache_type=cache) as stream,
        pq.ParquetFile(stream, buffer_size=_BUFFER_BYTES, pre_buffer=False) as parquet,
    ):
        for batch in parquet.iter_batches(batch_size=_BATCH_ROWS, columns=[name], use_threads=False):
            yield batch.column(0)
