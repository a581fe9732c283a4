"""The decode process really killed, stopped, starved and orphaned: nothing here is planted in the product."""

import io
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
import zlib
from collections.abc import Callable, Iterator

import numpy as np
import pytest
from PIL import Image

from made.tiffs import tiff
from operators.decode import DecodeOptions, image_decoder
from operators.decoding.hand_over import runs
from operators.decoding.pool import DecodePool
from operators.decoding.process import DecodeProcess, DecodeProcessError
from operators.decoding.shared_rows import DONE, ERROR_CLASSES, FAILED, ROWS, SOURCE_BYTES, STARTED
from operators.pixels.preprocess import Preprocess

PREPROCESS = Preprocess(
    height=16,
    width=16,
    resize="squash",
    resize_height=16,
    resize_width=16,
    interpolation="bilinear",
    mean=(0.0, 0.0, 0.0),
    std=(1.0, 1.0, 1.0),
)


def process(**settings: float) -> DecodeProcess:
    pool = image_decoder(DecodeOptions.model_validate(settings), {"pixels": PREPROCESS}, None, 1)
    assert isinstance(pool, DecodePool)
    return pool.processes[0]


def png(colour: int, side: int = 16) -> memoryview:
    out = io.BytesIO()
    Image.new("RGB", (side, side), (colour, 0, 0)).save(out, "PNG", compress_level=1)
    return memoryview(out.getvalue())


def tiff12(height: int = 16, width: int = 16) -> memoryview:
    """White of 12 bits, which tifffile reads."""
    white = zlib.compress(b"\xff" * (height * width * 3 // 2))
    return memoryview(
        tiff(
            np.zeros((1, width, 1)),
            photometric=1,
            bits=12,
            compression=8,
            encode=lambda _: white,
            tags={257: (4, [height]), 278: (4, [height])},
        )
    )


@pytest.fixture(scope="module")
def slow() -> memoryview:
    """25 megapixels: some tenths of a second, in which the process can be caught at it."""
    return png(50, 5000)


@pytest.fixture(scope="module")
def decoder() -> Iterator[DecodeProcess]:
    started = process()
    yield started
    started.close()


class Sniper:
    """Sends a signal to the process each time it is seen at work on `row`, `times` times."""

    def __init__(self, decoder: DecodeProcess, row: int, number: int, times: int) -> None:
        self.shots = 0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, args=(decoder, row, number, times))

    def __enter__(self) -> "Sniper":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _watch(self, decoder: DecodeProcess, row: int, number: int, times: int) -> None:
        last = None
        while self.shots < times and not self._stop.wait(0.002):
            pid = decoder.pid
            if pid and pid != last and decoder._shared.records["state"][row] == STARTED:
                os.kill(pid, number)
                last = pid
                self.shots += 1


def decoded(decoder: DecodeProcess, images: list[memoryview]) -> tuple[np.ndarray, list[np.ndarray]]:
    results = decoder.decode(images)
    return results.records, results.pixels


def reds(pixels: list[np.ndarray]) -> list[int]:
    return pixels[0].reshape(-1, 16, 16, 3)[:, 8, 8, 0].tolist()


@pytest.mark.kill
def test_a_row_that_kills_its_process_twice_fails_alone(decoder: DecodeProcess, slow: memoryview) -> None:
    images = [png(10), png(20), slow, png(40)]
    with Sniper(decoder, 2, signal.SIGSEGV, times=2) as sniper:
        records, pixels = decoded(decoder, images)
    assert sniper.shots == 2
    assert records["state"].tolist() == [DONE, DONE, FAILED, DONE]
    assert ERROR_CLASSES[records["error"][2]] == "decoder_crash"
    assert b"SIGSEGV" in records["message"][2]
    assert records["attempts"].tolist() == [0, 0, 2, 0]
    assert [reds(pixels)[n] for n in (0, 1, 3)] == [10, 20, 40]


@pytest.mark.kill
def test_a_row_whose_process_is_killed_twice_is_one_that_memory_did_not_suffice_for(
    decoder: DecodeProcess, slow: memoryview
) -> None:
    """As by the kernel, which takes this process first."""
    with Sniper(decoder, 1, signal.SIGKILL, times=2) as sniper:
        records, pixels = decoded(decoder, [png(10), slow, png(40)])
    assert sniper.shots == 2
    assert records["state"].tolist() == [DONE, FAILED, DONE]
    assert ERROR_CLASSES[records["error"][1]] == "decode_memory"
    assert b"SIGKILL" in records["message"][1]
    assert [reds(pixels)[n] for n in (0, 2)] == [10, 40]


@pytest.mark.kill
def test_a_process_killed_from_outside_once_costs_no_row(decoder: DecodeProcess, slow: memoryview) -> None:
    with Sniper(decoder, 1, signal.SIGKILL, times=1) as sniper:
        records, pixels = decoded(decoder, [png(10), slow, png(40)])
    assert sniper.shots == 1
    assert records["state"].tolist() == [DONE] * 3
    assert reds(pixels) == [10, 50, 40]
    pid = decoder.pid
    assert pid is not None
    os.kill(pid, signal.SIGKILL)  # and idle
    records, pixels = decoded(decoder, [png(60)])
    assert (records["state"].tolist(), reds(pixels)) == ([DONE], [60])
    assert decoder.pid != pid


@pytest.mark.kill
def test_too_much_cpu_time_fails_the_row() -> None:
    """49 megapixels take 0.6 s; by the clock a row has three times as long, which a busy machine may take first."""
    decoder = process(decode_timeout_s=0.2)
    for _ in range(5):
        records, pixels = decoded(decoder, [png(10), png(50, 7000)])
        if b"by the clock" not in records["message"][1]:
            break
    decoder.close()
    assert records["state"].tolist() == [DONE, FAILED]
    assert ERROR_CLASSES[records["error"][1]] == "decode_timeout"
    assert b"more than 0.2 s (CPU time)" in records["message"][1]
    assert records["attempts"][1] == 1
    assert reds(pixels)[0] == 10


@pytest.mark.kill
def test_a_process_that_hangs_without_cpu_time_is_killed_by_the_clock(slow: memoryview) -> None:
    decoder = process(decode_timeout_s=0.5)
    with Sniper(decoder, 0, signal.SIGSTOP, times=1):
        records, _ = decoded(decoder, [slow])
    decoder.close()
    assert records["state"].tolist() == [FAILED]
    assert ERROR_CLASSES[records["error"][0]] == "decode_timeout"
    assert b"by the clock" in records["message"][0]


def test_the_process_takes_long_turns(decoder: DecodeProcess) -> None:
    decoder.start()
    assert decoder.pid is not None
    assert os.sched_getscheduler(decoder.pid) == os.SCHED_BATCH


def test_an_image_larger_than_the_shared_memory_comes_and_goes(decoder: DecodeProcess) -> None:
    large = io.BytesIO()
    Image.new("RGB", (3000, 2000), (7, 0, 0)).save(large, "BMP")
    assert large.getbuffer().nbytes > SOURCE_BYTES
    for images, expected in (
        ([png(10)], [10]),
        ([png(20), large.getbuffer(), png(30)], [20, 7, 30]),
        ([png(40)], [40]),
    ):
        records, pixels = decoded(decoder, images)
        assert records["state"].tolist() == [DONE] * len(expected)
        assert reds(pixels) == expected
    assert os.fstat(decoder._shared.source).st_size == SOURCE_BYTES


def test_an_image_over_the_memory_limit_fails_and_the_process_lives(slow: memoryview) -> None:
    decoder = process(memory_limit_bytes=64 * 1024 * 1024)
    records, _ = decoded(decoder, [png(10)])
    pid = decoder.pid
    records, pixels = decoded(decoder, [slow, png(40)])
    assert decoder.pid == pid
    decoder.close()
    assert records["state"].tolist() == [FAILED, DONE]
    assert ERROR_CLASSES[records["error"][0]] == "decode_memory"
    assert b"memory_limit_bytes" in records["message"][0]
    assert reds(pixels)[1] == 40


def test_a_process_that_cannot_start_is_an_error_and_no_failed_row() -> None:
    decoder = DecodeProcess({"rules": "nonsense"}, 1.0, [768])
    with pytest.raises(DecodeProcessError, match=r"(?s)did not start \(status 1\).*ValidationError"):
        decoder.decode([png(10)])
    assert decoder.pid is None


@pytest.mark.kill
def test_dying_on_no_image_again_and_again_is_an_error(decoder: DecodeProcess, monkeypatch: pytest.MonkeyPatch) -> None:
    """As where every start succeeds and something outside kills each process before it takes a row."""
    from operators.decoding import process as decode_process

    ask = decode_process._Child.ask

    def killed_first(child: decode_process._Child, records: np.ndarray, wall_s: float) -> object:
        os.kill(child.pid, signal.SIGKILL)
        child._process.wait()
        return ask(child, records, wall_s)

    monkeypatch.setattr(decode_process._Child, "ask", killed_first)
    with pytest.raises(DecodeProcessError, match="while on no image: signal SIGKILL"):
        decoder.decode([png(10)])


def test_no_secrets_no_terminal_and_nothing_left_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "do-not-pass-on")
    before = len(os.listdir("/proc/self/fd"))
    decoder = process()
    decoder.decode([png(10)])
    pid = decoder.pid
    assert pid is not None
    with open(f"/proc/{pid}/environ", "rb") as environment:
        assert b"do-not-pass-on" not in environment.read()
    for descriptor in (0, 1, 2):
        assert os.readlink(f"/proc/{pid}/fd/{descriptor}") == os.devnull
    decoder.close()
    assert not _alive(pid)
    del decoder
    assert len(os.listdir("/proc/self/fd")) == before


@pytest.mark.kill
def test_the_process_ends_when_its_parent_is_killed() -> None:
    code = """
        import time
        from tests.operators.decoding.test_process import png, process
        decoder = process()
        decoder.decode([png(1)])
        print(decoder.pid, flush=True)
        time.sleep(60)
    """
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", textwrap.dedent(code)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        assert _alive(child)
        parent.kill()
        parent.wait()
        assert _within(60, lambda: not _alive(child))


def test_runs_bound_rows_and_bytes() -> None:
    small, large = memoryview(b"x"), memoryview(bytes(SOURCE_BYTES + 1))
    assert list(runs([])) == []
    assert list(runs([small] * (ROWS + 1))) == [(0, ROWS), (ROWS, ROWS + 1)]
    assert list(runs([small, large, small, small])) == [(0, 1), (1, 2), (2, 4)]
    assert list(runs([memoryview(b"")] * (ROWS + 2))) == [(0, ROWS), (ROWS, ROWS + 2)]


def _alive(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat") as stat:
            return stat.read().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def _within(seconds: float, holds: Callable[[], bool]) -> bool:
    end = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > end:
            return False
        time.sleep(0.02)
    return True


def test_a_tiff_that_needs_tifffile_is_read_within_the_limits(decoder: DecodeProcess) -> None:
    """Its library is loaded there and then: which counts as the image's. 48 megapixels are within both limits."""
    records, pixels = decoded(decoder, [tiff12(), png(7), tiff12(6000, 8000)])
    assert records["state"].tolist() == [DONE] * 3
    assert reds(pixels) == [255, 7, 255]
