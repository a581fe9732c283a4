"""Memory that the decode process and its parent share: image bytes in; a record and pixels for each row out.

The memory is small and used again for every few rows, and the parent copies the pixels out once. Handing over fresh
shared memory without a copy was measured and costs more: its pages are faulted in 4 KiB at a time, 125 us for 224 x 224
pixels, against 15 us for the copy into private memory, which the kernel backs with huge pages.
"""

import mmap
import os
import weakref
from collections.abc import Sequence

import numpy as np

from operators.base.errors import MAX_MESSAGE_BYTES, ErrorClass
from operators.regions.boxes import KINDS

PENDING, STARTED, DONE, FAILED = range(4)
ERROR_CLASSES = tuple(ErrorClass)
FORMATS = ("jpeg", "png", "webp", "gif", "bmp", "tiff", "avif", "heif", "jp2", "jxl")
RECORD = np.dtype(
    [
        ("offset", np.int64),
        ("size", np.int64),
        ("given_size", np.int64),
        ("width", np.int32),
        ("height", np.int32),
        ("slots", np.int32),
        ("state", np.uint8),
        ("format", np.uint8),
        ("error", np.uint8),
        ("attempts", np.uint8),
        ("message", f"S{MAX_MESSAGE_BYTES}"),
    ]
)
"""One row: where its bytes lie, followed by what is given of its regions (written by the parent), and its result
(written by the decoder). `slots` is how many it takes up, from where the row before it ends: where regions are cut, 0
until the row is done; otherwise always 1."""
REGION_RECORD = np.dtype([("kind", np.uint8), ("box", np.float32, 4)])
"""The region whose pixels a slot holds: an index into `KINDS`, and x0, y0, x1, y1."""

ROWS = 32
SOURCE_BYTES = 16 * 1024 * 1024
"""Most rows, and most bytes of images, that are handed over at a time. A larger image is handed over alone."""


class SharedRows:
    """`records` (ROWS,) of `RECORD`; for each slot, `regions` (slots,) of `REGION_RECORD` and, for each target,
    `pixels` (slots, its row_bytes) uint8; the images' bytes beside them."""

    def __init__(self, source: int, results: int, row_bytes: Sequence[int], max_regions: int | None = None) -> None:
        """Map the two descriptors. `row_bytes`: bytes of one slot's pixels, per target; `max_regions`: most regions of
        one row, None where no regions are cut."""
        self.source, self.results = source, results
        self._images: mmap.mmap | None = None
        self.slots = slots = _slots(max_regions)
        self.no_slots = 1 if max_regions is None else 0
        """Slots of a row that has no pixels."""
        mapping = mmap.mmap(results, 0)
        self.records = np.frombuffer(mapping, RECORD, ROWS)
        self.regions = np.frombuffer(mapping, REGION_RECORD, slots, self.records.nbytes)
        offsets = _pixels_offset(slots) + slots * np.cumsum([0, *row_bytes])
        self.pixels = [
            np.frombuffer(mapping, np.uint8, slots * size, offset).reshape(slots, size)
            for size, offset in zip(row_bytes, offsets.tolist(), strict=False)
        ]

    @classmethod
    def create(cls, row_bytes: Sequence[int], max_regions: int | None = None) -> "SharedRows":
        """Fresh memory without a name, which is gone with the last process that has it. Its descriptors are closed with
        the object."""
        source = os.memfd_create("pixlake-images")
        results = os.memfd_create("pixlake-pixels")
        slots = _slots(max_regions)
        os.ftruncate(results, _pixels_offset(slots) + slots * sum(row_bytes))
        made = cls(source, results, row_bytes, max_regions)
        weakref.finalize(made, _close, source, results)
        return made

    def put(self, images: Sequence[memoryview], given: Sequence[bytes] | None) -> None:
        """Write the images end to end, each with what is `given` of its regions, if anything, and make a PENDING record
        for each."""
        self.records[:] = np.zeros((), RECORD)
        self.records["slots"] = self.no_slots
        total = sum(image.nbytes for image in images) + sum(map(len, given or ()))
        os.ftruncate(self.source, max(total, SOURCE_BYTES))  # what a larger image took goes back to the kernel
        memory, end = self._mapped(total), 0
        for row, image in enumerate(images):
            self.records["offset"][row], self.records["size"][row] = end, image.nbytes
            memory[end : end + image.nbytes] = image
            end += image.nbytes
            if given is not None:
                self.records["given_size"][row] = len(given[row])
                memory[end : end + len(given[row])] = given[row]
                end += len(given[row])

    def image(self, row: int) -> memoryview:
        """The bytes of one row, as they lie in the shared memory until the next `put`."""
        start, size = int(self.records["offset"][row]), int(self.records["size"][row])
        return memoryview(self._mapped(start + size))[start : start + size].toreadonly()

    def given(self, row: int) -> bytes:
        """What is given of the regions of one row."""
        record = self.records[row]
        start, size = int(record["offset"] + record["size"]), int(record["given_size"])
        return self._mapped(start + size)[start : start + size]

    def first_slot(self, row: int) -> int:
        """The first slot of a row in work: rows are finished in their order, and their slots follow one another."""
        return int(self.records["slots"][:row].sum())

    def _mapped(self, size: int) -> mmap.mmap:
        """At least `size` bytes of the images' memory."""
        if self._images is None or len(self._images) < size:
            self._images = mmap.mmap(self.source, max(size, SOURCE_BYTES))
        return self._images


def _close(*files: int) -> None:
    for file in files:
        os.close(file)


def _slots(max_regions: int | None) -> int:
    """How many slots there are: one for every row, or as many as one row may have regions; rows beyond that wait."""
    return max(ROWS, max_regions or 0)


def _pixels_offset(slots: int) -> int:
    head = ROWS * RECORD.itemsize + slots * REGION_RECORD.itemsize
    return -(-head // mmap.PAGESIZE) * mmap.PAGESIZE


def region_record(kind: str, box: np.ndarray) -> np.ndarray:
    """One `REGION_RECORD`."""
    return np.array((KINDS.index(kind), box), REGION_RECORD)


def fail_record(records: np.ndarray, row: int, error: ErrorClass, message: str) -> None:
    """Mark one row FAILED. `message` is one clean line."""
    records["error"][row] = ERROR_CLASSES.index(error)
    records["message"][row] = message.encode("utf-8", "replace")[:MAX_MESSAGE_BYTES]
    records["state"][row] = FAILED
