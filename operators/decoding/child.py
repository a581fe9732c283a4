"""What runs inside the decode process: rows out of shared memory, decoded and resized into shared memory."""

import ctypes
import io
import json
import math
import os
import resource
import select
import signal
import socket
import sys
import traceback
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import simplejpeg
from PIL import Image
from pydantic import BaseModel, ConfigDict

from operators.base.errors import BadImage, ErrorClass, clean_message
from operators.base.failpoints import failpoint
from operators.base.memory import is_out_of_memory
from operators.base.process_settings import take_long_turns
from operators.decoding.shared_rows import (
    DONE,
    ERROR_CLASSES,
    FORMATS,
    PENDING,
    STARTED,
    SharedRows,
    fail_record,
    region_record,
)
from operators.pixels.images import Decoded, DecodeRules, decode
from operators.pixels.libtorch import resample
from operators.pixels.preprocess import Preprocess, Resize
from operators.pixels.resize import fit, fit_shrunk
from operators.regions.boxes import BadRegions, Regions
from operators.regions.cut import cut
from operators.regions.given import place
from operators.regions.options import CutOptions

_IDLE_POLL_MS = 1000
_GIVEN_BACK_PIXELS = 16_000_000
"""Pixels of a picture after which the memory that is kept for the next one goes back: smaller ones are common, and
asking anew would cost them a quarter of their time (`process._KEPT_BYTES`)."""


_NO_MEMORY = ERROR_CLASSES.index(ErrorClass.DECODE_MEMORY)


class Setup(BaseModel):
    """The first message from the parent."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    rules: DecodeRules
    targets: tuple[Preprocess, ...]
    """Pixels to make from each image, one after the other."""
    regions: CutOptions | None
    """Regions to cut out of each image; None: the whole image is the only one."""
    timeout_s: float
    memory_limit_bytes: int


def shape_of(target: Preprocess) -> tuple[int, int, int]:
    """(height, width, 3) of one row's pixels."""
    return target.height, target.width, 3


def decode_rows(
    shared: SharedRows,
    count: int,
    setup: Setup,
    *,
    full: Callable[[], None],
    started: Callable[[], None] = lambda: None,
) -> None:
    """Decode every PENDING one of the first `count` rows, once, into the pixels of each target.

    `full()` is called when the slots do not hold the next row's regions, and returns when they are free.
    """
    for row in np.flatnonzero(shared.records["state"][:count] == PENDING).tolist():
        shared.records["state"][row] = STARTED
        failpoint("decode.row")
        started()
        try:
            _decode_row(shared, row, setup, full)
        except (BadImage, BadRegions) as error:
            fail_record(shared.records, row, error.error_class, clean_message(str(error)))
        except MemoryError:
            fail_record(shared.records, row, ErrorClass.DECODE_MEMORY, "decoding needs more than memory_limit_bytes")


def give_back() -> None:
    """Have glibc return what is free, also from the midst of its heap, to the kernel. Others do so by themselves."""
    if trim := getattr(ctypes.CDLL(None), "malloc_trim", None):
        trim(0)


def _decode_row(shared: SharedRows, row: int, setup: Setup, full: Callable[[], None]) -> None:
    decoded = decode(shared.image(row), setup.rules)
    height, width = decoded.height, decoded.width
    slots = 1
    if setup.regions is None:
        with _memory_as_bad_image():
            for target, pixels in zip(setup.targets, shared.pixels, strict=True):
                fit_decoded(decoded, target, pixels[row].reshape(shape_of(target)))
    else:
        regions = place(setup.regions, width, height, json.loads(shared.given(row) or b"{}"))
        slots = len(regions.boxes)
        if shared.first_slot(row) + slots > shared.slots:
            full()
        _cut_all(decoded.pixels, regions, shared, shared.first_slot(row), setup.targets, setup.regions.resize)
    record = shared.records
    record["height"][row], record["width"][row] = height, width
    record["format"][row] = FORMATS.index(decoded.format)
    record["slots"][row] = slots
    record["state"][row] = DONE


def fit_decoded(decoded: Decoded, target: Preprocess, out: np.ndarray) -> None:
    if decoded.extent is None:
        fit(decoded.pixels, target, out)
    else:
        fit_shrunk(decoded.pixels, target, out, size=(decoded.height, decoded.width), extent=decoded.extent)


def _cut_all(
    image: np.ndarray, regions: Regions, shared: SharedRows, slot: int, targets: Sequence[Preprocess], resize: Resize
) -> None:
    for at, (kind, box) in enumerate(zip(regions.kinds, regions.boxes, strict=True), slot):
        shared.regions[at] = region_record(kind, box)
        with _memory_as_bad_image():
            for target, pixels in zip(targets, shared.pixels, strict=True):
                cut(image, kind, box, target, resize, pixels[at].reshape(shape_of(target)))


@contextmanager
def _memory_as_bad_image() -> Iterator[None]:
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        raise BadImage(ErrorClass.DECODE_MEMORY, "resizing needs more memory than memory_limit_bytes") from error


def serve(parent: int, connection: socket.socket, source: int, results: int) -> None:
    """Answer requests (the number of rows to decode, as text) until the parent closes its end or dies."""
    setup = Setup.model_validate(json.loads(connection.recv(65536)))
    max_regions = None if setup.regions is None else setup.regions.max_regions
    shared = SharedRows(source, results, [math.prod(shape_of(target)) for target in setup.targets], max_regions)
    _check_self(setup)
    _limit(setup.memory_limit_bytes)
    connection.send(b"ready")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # libtiff writes thousands of lines there on bad input

    def started() -> None:
        # Counts this process's CPU time, all threads; SIGPROF's default action ends it, native code or not.
        signal.setitimer(signal.ITIMER_PROF, setup.timeout_s)
        if os.getppid() != parent:
            os._exit(0)

    def full() -> None:
        connection.send(b"ok")
        if not _next_request(connection, parent):
            os._exit(0)

    while request := _next_request(connection, parent):
        try:
            decode_rows(shared, int(request), setup, full=full, started=started)
            answer = b"ok"
        except Exception:
            answer = traceback.format_exc()[-4000:].encode()
        signal.setitimer(signal.ITIMER_PROF, 0)
        if _was_large(shared.records[: int(request)]):
            give_back()
        connection.send(answer)


def _was_large(records: np.ndarray) -> bool:
    """Whether any of these rows took much memory."""
    pixels = records["width"].astype(np.int64) * records["height"]
    return bool((pixels > _GIVEN_BACK_PIXELS).any() or (records["error"] == _NO_MEMORY).any())


def _next_request(connection: socket.socket, parent: int) -> bytes:
    """The next request; empty when there will be no more. Checks on the parent too: a process that it forked may hold
    the socket open.

    PR_SET_PDEATHSIG would not do: it fires when the *thread* that started this process ends.
    """
    poll = select.poll()
    poll.register(connection, select.POLLIN)
    while not poll.poll(_IDLE_POLL_MS):
        if os.getppid() != parent:
            return b""
    return connection.recv(64)


def _check_self(setup: Setup) -> None:
    """Decode and resize tiny images: libraries that do not work show here, at the start, and not as failed rows.

    What is loaded here counts as the process's own, not as an image's memory.
    """
    pixels = np.zeros((8, 8, 3), np.uint8)
    png = io.BytesIO()
    Image.fromarray(pixels).save(png, "PNG")
    for data in (simplejpeg.encode_jpeg(pixels), png.getvalue()):
        decoded = decode(data, DecodeRules(max_pixels=64))
        for target in setup.targets:
            fit(decoded.pixels, target, np.empty(shape_of(target), np.uint8))
    resample(pixels, 4, 4, "bicubic")  # `fit` leaves to Pillow what it enlarges


def _limit(memory_limit_bytes: int) -> None:
    """Cap the memory that images may add. RLIMIT_DATA, since RLIMIT_AS would count the mapped libraries."""
    with open("/proc/self/status") as status:
        now = next(int(line.split()[1]) * 1024 for line in status if line.startswith("VmData"))
    limit = now + memory_limit_bytes
    resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with open("/proc/self/oom_score_adj", "w") as score:
        score.write("1000")  # the kernel, short of memory, should take this process and not the actor


def main() -> None:
    warnings.simplefilter("ignore")
    take_long_turns()
    parent, connection, source, results = map(int, sys.argv[1:])
    serve(parent, socket.socket(fileno=connection), source, results)


if __name__ == "__main__":
    main()
