import mmap
import os
import sys
import time
from pathlib import Path

import pytest

from benchmarks.process_tree import STEP_BYTES, PeakMemory, Stops, run


def test_pss_is_read_where_memory_is_higher_than_ever_and_is_the_peak_after_it_is_gone():
    peak, me = PeakMemory(), os.getpid()
    assert peak.look({me}, me)
    before = peak.bytes
    assert not peak.look({me}, me)
    with mmap.mmap(-1, 4 * STEP_BYTES) as memory:
        memory.write(bytes(4 * STEP_BYTES))
        assert peak.look({me}, me)
    highest = peak.bytes
    assert highest - before > 3 * STEP_BYTES
    assert not peak.look({me}, me)
    assert peak.bytes == peak.driver_bytes == highest


TREE = """
import subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
print(child.pid, file=sys.stderr, flush=True)
def spin(seconds):
    begun = time.process_time()
    while time.process_time() - begun < seconds:
        pass
spin(0.3)
print("half of it", file=sys.stderr, flush=True)
spin(0.3)
child.kill()
print("done")
"""


def test_a_tree_is_stopped_while_other_work_has_the_machine() -> None:
    states: list[str] = []
    heard: list[str] = []

    def at(line: str) -> bool:
        heard.append(line.strip())
        return line.startswith("half")

    def work() -> None:
        child = int(heard[0])
        parent = int(_stat(child)[1])
        states.extend(_stat(pid)[0] for pid in (parent, child))
        end = time.monotonic() + 0.5
        while time.monotonic() < end:
            pass

    stops = Stops(at, work)
    watched = run([sys.executable, "-c", TREE], stops)
    assert states == ["T", "T"]
    assert watched.output == "done\n"
    assert 0.5 <= watched.stopped_seconds < 1.5
    assert watched.seconds > 0.6 + watched.stopped_seconds
    assert stops.busy_seconds >= 0.4, "what the work took is none of the others' load"


def test_a_tree_goes_on_where_the_work_fails() -> None:
    def work() -> None:
        raise ZeroDivisionError

    stops = Stops(lambda line: True, work)
    code = "import sys, time; print('a', file=sys.stderr, flush=True); time.sleep(0.3); print('done')"
    with pytest.raises(ZeroDivisionError):
        run([sys.executable, "-c", code], stops)


def _stat(pid: int) -> list[str]:
    """State, parent and so on."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
