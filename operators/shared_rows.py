"""Memory that the decode process and its parent share: image bytes in; a record and pixels for each row out.

It is small and used again for every few rows, and the parent copies the pixels out once. Handing fresh shared memory
over without a copy was measured and costs more: its pages are faulted in 4 KiB at a time, 125 us for 224 x 224 pixels,
against 15 us for the copy into private memory, which the kernel backs with huge pages.
"""

import mmap
import os
from collections.abc import Iterator, Sequence

import numpy as np

from operators.failures import MAX_MESSAGE_BYTES, ErrorClass

PENDING, STARTED, DONE, FAILED = range(4)
ERROR_CLASSES = tuple(ErrorClass)
FORMATS = ("jpeg", "png", "webp", "gif", "bmp", "tiff", "avif", "heif")
RECORD = np.dtype(
    [
        ("offset", np.int64),
        ("size", np.int64),
        ("width", np.int32),
        ("height", np.int32),
        ("state", np.uint8),
        ("format", np.uint8),
        ("error", np.uint8),
        ("attempts", np.uint8),
        ("message", f"S{MAX_MESSAGE_BYTES}"),
    ]
)
"""One row: where its bytes lie (written by the parent), and what became of it (written by who decodes)."""

ROWS = 32
SOURCE_BYTES = 16 * 1024 * 1024
"""Rows, and bytes of images, handed over at a time. A larger image is handed over alone."""
_PIXELS_OFFSET = -(-ROWS * RECORD.itemsize // mmap.PAGESIZE) * mmap.PAGESIZE


class SharedRows:
    """`records` (ROWS,) of `RECORD` and, for each target, `pixels` (ROWS, its row_bytes) uint8, shared; the images'
    bytes beside them."""

    def __init__(self, source: int, results: int, row_bytes: Sequence[int]) -> None:
        """Maps the two descriptors, which stay the caller's to close. `row_bytes`: of one row's pixels, per target."""
        self.source, self.results = source, results
        width = sum(row_bytes)
        mapping = mmap.mmap(results, _PIXELS_OFFSET + ROWS * width)
        self.records = np.frombuffer(mapping, RECORD, ROWS)
        rows = np.frombuffer(mapping, np.uint8, ROWS * width, _PIXELS_OFFSET).reshape(ROWS, width)
        self.pixels = np.split(rows, np.cumsum(row_bytes)[:-1], axis=1)

    @classmethod
    def create(cls, row_bytes: Sequence[int]) -> "SharedRows":
        """Fresh memory, which goes when the last process that has it is gone: it has no name to leave behind."""
        source = os.memfd_create("pixlake-images")
        results = os.memfd_create("pixlake-pixels")
        os.ftruncate(results, _PIXELS_OFFSET + ROWS * sum(row_bytes))
        return cls(source, results, row_bytes)

    def put(self, images: Sequence[memoryview]) -> None:
        """Writes the images end to end and makes one PENDING record of each."""
        self.records[:] = np.zeros((), RECORD)
        os.ftruncate(self.source, min(os.fstat(self.source).st_size, SOURCE_BYTES))
        end = 0
        for row, image in enumerate(images):
            self.records["offset"][row], self.records["size"][row] = end, image.nbytes
            written = 0
            while written < image.nbytes:
                written += os.pwrite(self.source, image[written:], end + written)
            end += image.nbytes

    def image(self, row: int) -> bytes:
        """The bytes of one row."""
        return os.pread(self.source, int(self.records["size"][row]), int(self.records["offset"][row]))


def fail_record(records: np.ndarray, row: int, error: ErrorClass, message: str) -> None:
    """Marks one row FAILED. `message` is one clean line."""
    records["error"][row] = ERROR_CLASSES.index(error)
    records["message"][row] = message.encode("utf-8", "replace")[:MAX_MESSAGE_BYTES]
    records["state"][row] = FAILED


def runs(images: Sequence[memoryview]) -> Iterator[tuple[int, int]]:
    """Consecutive rows, at most `ROWS` and `SOURCE_BYTES` together, or one larger image alone."""
    start, total = 0, 0
    for index, image in enumerate(images):
        if index > start and (total + image.nbytes > SOURCE_BYTES or index - start == ROWS):
            yield start, index
            start, total = index, 0
        total += image.nbytes
    if images:
        yield start, len(images)
