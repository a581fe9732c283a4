"""NumPy's `.npy` files of one matrix each: their headers, and ranges of their rows. Pickled objects are never read."""

import io
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.lib import format as npy_format

from operators.base.errors import UserError
from operators.storage.redact import redact_uri
from operators.storage.stores import StorageOptions, filesystem

_HEADER_BYTES = 16_384
"""Bytes read for a header: more than the 10,000 characters that NumPy itself accepts."""
_READ_AHEAD_BYTES = 8 << 20


class NpyError(UserError):
    """The file is no matrix of vectors as `numpy.save` writes it, or ends too early; the message names it."""


@dataclass(frozen=True, kw_only=True)
class NpyFile:
    """A matrix of (rows, dim), C-contiguous and little-endian, that begins `offset` bytes into the file."""

    uri: str
    version: str
    rows: int
    dim: int
    dtype: str
    """`<f2`, `<f4`, `|i1` or `|u1`."""
    offset: int

    @property
    def row_bytes(self) -> int:
        return self.dim * np.dtype(self.dtype).itemsize


def npy_header(rows: int, dim: int, dtype: str) -> bytes:
    """The bytes before the rows. Format 1.0, on one line: embedding_reader knows no other."""
    out = io.BytesIO()
    npy_format.write_array_header_1_0(out, {"descr": dtype, "fortran_order": False, "shape": (rows, dim)})
    return out.getvalue()


def read_npy_header(uri: str, size: int, storage: StorageOptions, *, version: str = "") -> NpyFile:
    """The file's matrix, read from its first bytes and its size. Raises `NpyError`, naming the file, unless it is one
    whole matrix of numbers, or has no rows: then `dim` may be 0, and neither it nor the type says anything."""
    where = redact_uri(uri)
    shape, fortran, dtype, offset = _parsed(_first_bytes(uri, size, storage), where)
    if shape and not shape[0] and size == offset:
        dim = shape[1] if len(shape) == 2 else 0
        return NpyFile(uri=uri, version=version, rows=0, dim=dim, dtype=dtype.str, offset=offset)
    if dtype.hasobject:
        raise NpyError(f"{where}: holds pickled Python objects, which are never read; save it as float16 or float32")
    if dtype.names is not None or len(shape) != 2 or shape[1] < 1:
        raise NpyError(f"{where}: holds {dtype} of shape {shape}, not a matrix with a vector for each row")
    if fortran:
        raise NpyError(f"{where}: is in Fortran order, columns first; save numpy.ascontiguousarray of it")
    expected = offset + shape[0] * shape[1] * dtype.itemsize
    if size != expected:
        raise NpyError(
            f"{where}: {size} bytes, but {shape[0]} x {shape[1]} of {dtype} take {expected}; it was cut off or "
            "damaged, copy or write it again"
        )
    return NpyFile(uri=uri, version=version, rows=shape[0], dim=shape[1], dtype=dtype.str, offset=offset)


def _first_bytes(uri: str, size: int, storage: StorageOptions) -> bytes:
    if not size:
        return b""
    files, path = filesystem(uri, storage)
    start: bytes = files.cat_file(path, start=0, end=min(size, _HEADER_BYTES))
    return start


def _parsed(start: bytes, where: str) -> tuple[tuple[int, ...], bool, np.dtype[Any], int]:
    """(shape, whether in Fortran order, dtype, offset of the rows)."""
    stream = io.BytesIO(start)
    readers = {(1, 0): npy_format.read_array_header_1_0, (2, 0): npy_format.read_array_header_2_0}
    try:
        version = npy_format.read_magic(stream)
        if version not in readers:
            raise ValueError(f"format {version[0]}.{version[1]}, which is for named fields")
        shape, fortran, dtype = readers[version](stream)
    except ValueError as error:
        reason = str(error).splitlines()[0]
        raise NpyError(f"{where}: not an npy file that numpy.save wrote ({reason}); write it again") from None
    return shape, fortran, dtype, stream.tell()


class NpyRows:
    """Rows of an open file."""

    def __init__(self, npy: NpyFile, stream: Any) -> None:
        self._npy = npy
        self._stream = stream

    def read(self, first: int, count: int) -> np.ndarray:
        """(count, dim) in the file's own dtype. Raises `NpyError` where the file ends too early."""
        self._stream.seek(self._npy.offset + first * self._npy.row_bytes)
        data = self._stream.read(count * self._npy.row_bytes)
        if len(data) != count * self._npy.row_bytes:
            last = first + len(data) // self._npy.row_bytes
            raise NpyError(f"{redact_uri(self._npy.uri)}: ends within row {last}, and was longer when it was opened")
        return np.frombuffer(data, self._npy.dtype).reshape(count, self._npy.dim)


@contextmanager
def open_npy(npy: NpyFile, storage: StorageOptions) -> Iterator[NpyRows]:
    """Open the file. A local one is read where asked; from an object store, some megabytes at a time are fetched
    ahead."""
    files, path = filesystem(npy.uri, storage)
    with files.open(path, "rb", cache_type="readahead", block_size=_READ_AHEAD_BYTES) as stream:
        yield NpyRows(npy, stream)
