"""npy files: headers as NumPy writes and reads them, rows by range, and everything malformed refused by name."""

import io
import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.lib import format as npy_format

from operators.storage.stores import NO_OPTIONS
from pipelines.export.npy import NpyError, NpyFile, npy_header, open_npy, read_npy_header


def opened(path: Path) -> NpyFile:
    return read_npy_header(str(path), path.stat().st_size, NO_OPTIONS)


@pytest.mark.parametrize("dtype", ["<f2", "<f4", "|i1", "|u1"])
def test_what_is_written_numpy_loads_and_what_numpy_saves_is_read(tmp_path: Path, dtype: str) -> None:
    matrix = np.random.default_rng(0).integers(0, 100, (7, 5)).astype(dtype)
    (tmp_path / "ours.npy").write_bytes(npy_header(7, 5, dtype) + matrix.tobytes())
    assert np.array_equal(np.load(tmp_path / "ours.npy"), matrix)
    assert np.load(tmp_path / "ours.npy").dtype == matrix.dtype
    np.save(tmp_path / "theirs.npy", matrix)
    for name in ("ours.npy", "theirs.npy"):
        npy = opened(tmp_path / name)
        assert (npy.rows, npy.dim, npy.dtype) == (7, 5, dtype)
        with open_npy(npy, NO_OPTIONS) as rows:
            assert np.array_equal(rows.read(0, 7), matrix)
            assert np.array_equal(rows.read(5, 2), matrix[5:])
            assert np.array_equal(rows.read(2, 1), matrix[2:3])


def test_a_header_of_format_two_is_read(tmp_path: Path) -> None:
    out = io.BytesIO()
    matrix = np.ones((3, 2), "<f4")
    npy_format.write_array(out, matrix, version=(2, 0))
    (tmp_path / "two.npy").write_bytes(out.getvalue())
    with open_npy(opened(tmp_path / "two.npy"), NO_OPTIONS) as rows:
        assert np.array_equal(rows.read(1, 2), matrix[1:])


class Bomb:
    """Unpickled, it makes a file."""

    def __init__(self, path: str) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (self.path,)


def saved(array: np.ndarray) -> Callable[[Path], bytes]:
    def content(_: Path) -> bytes:
        out = io.BytesIO()
        np.save(out, array)
        return out.getvalue()

    return content


def pickled_objects(folder: Path) -> bytes:
    out = io.BytesIO()
    npy_format.write_array_header_1_0(out, {"descr": "|O", "fortran_order": False, "shape": (1, 1)})
    return out.getvalue() + pickle.dumps(Bomb(str(folder / "exploded")))


GOOD = saved(np.ones((4, 3), "f4"))(Path())

MALFORMED: dict[str, tuple[Callable[[Path], bytes], str]] = {
    "empty": (lambda _: b"", "not an npy file"),
    "an image": (lambda _: b"\x89PNG\r\n\x1a\n" + b"\0" * 100, "not an npy file"),
    "a pickle": (lambda _: pickle.dumps([1.0, 2.0]), "not an npy file"),
    "an npz": (lambda _: b"PK\x03\x04" + b"\0" * 100, "not an npy file"),
    "header cut off": (lambda _: GOOD[:40], "not an npy file"),
    "header of code": (lambda _: GOOD[:10] + b"__import__('os')".ljust(118) + GOOD[128:], "not an npy file"),
    "header without shape": (lambda _: GOOD.replace(b"'shape'", b"'shade'"), "not an npy file"),
    "format three": (lambda _: GOOD[:6] + b"\x03" + GOOD[7:], "not an npy file"),
    "rows cut off": (lambda _: GOOD[:-1], r"175 bytes, but 4 x 3 of float32 take 176"),
    "something behind": (lambda _: GOOD + b"x", r"177 bytes, but 4 x 3"),
    "pickled objects": (pickled_objects, "pickled Python objects, which are never read"),
    "one vector": (saved(np.ones(4, "f4")), r"of shape \(4,\), not a matrix"),
    "three axes": (saved(np.ones((2, 2, 2), "f4")), r"of shape \(2, 2, 2\), not a matrix"),
    "no components": (saved(np.ones((2, 0), "f4")), r"of shape \(2, 0\), not a matrix"),
    "named fields": (saved(np.ones((2, 2), [("a", "f4")])), "not a matrix"),
    "columns first": (saved(np.asfortranarray(np.ones((4, 3), "f4"))), "Fortran order"),
}


@pytest.mark.parametrize("name", MALFORMED)
def test_what_is_no_matrix_is_refused_by_name_and_never_unpickled(tmp_path: Path, name: str) -> None:
    content, says = MALFORMED[name]
    path = tmp_path / "bad.npy"
    path.write_bytes(content(tmp_path))
    with pytest.raises(NpyError, match=says) as error:
        opened(path)
    assert str(path) in str(error.value)
    assert not (tmp_path / "exploded").exists()


def test_a_file_that_shrinks_while_it_is_read_is_no_shorter_matrix(tmp_path: Path) -> None:
    path = tmp_path / "v.npy"
    path.write_bytes(GOOD)
    npy = opened(path)
    path.write_bytes(GOOD[:-20])
    with open_npy(npy, NO_OPTIONS) as rows, pytest.raises(NpyError, match="ends within row"):
        rows.read(0, 4)
