"""Which files of an export are done, as the files themselves show."""

from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pyarrow as pa
import pyarrow.parquet as pq

from operators.storage.stores import filesystem
from pipelines.export.folder import ExportFolder
from pipelines.export.npy import NpyError, read_npy_header
from pipelines.export.part import PartTask

_THREADS = 16


def unfinished(tasks: Iterable[PartTask], folder: ExportFolder) -> Iterator[PartTask]:
    """The tasks, in order, whose files are missing or lack rows. Costs a listing, and a footer or header a file."""
    sizes = folder.sizes()

    def is_done(task: PartTask) -> bool:
        return all(name in sizes and _rows(folder, name, sizes[name]) == task.part.rows for name in task.names)

    listed = list(tasks)
    with ThreadPoolExecutor(_THREADS) as threads:
        done = threads.map(is_done, listed)
        yield from (task for task, is_there in zip(listed, done, strict=True) if not is_there)


def _rows(folder: ExportFolder, name: str, size: int) -> int | None:
    """Rows of a file; None for one that is damaged."""
    uri = f"{folder.uri}/{name}"
    try:
        if name.endswith(".npy"):
            return read_npy_header(uri, size, folder.storage).rows
        files, path = filesystem(uri, folder.storage)
        with files.open(path, "rb") as stream:
            rows: int = pq.read_metadata(stream).num_rows
            return rows
    except (NpyError, pa.ArrowInvalid):
        return None
