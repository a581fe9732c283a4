"""What long work sets for its process holds there, and nowhere else."""

import os
import platform
import subprocess
import sys
import threading

import pytest

from operators.base.process_settings import take_long_turns

ON_GLIBC = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the settings are glibc's")


@pytest.mark.skipif(not hasattr(os, "SCHED_BATCH"), reason="Linux alone has it")
@pytest.mark.parametrize(("before", "after"), [("SCHED_OTHER", "SCHED_BATCH"), ("SCHED_IDLE", "SCHED_IDLE")])
def test_long_turns_are_those_of_the_thread_that_takes_them_unless_a_user_chose(before: str, after: str) -> None:
    policies: list[int] = []

    def work() -> None:
        os.sched_setscheduler(0, getattr(os, before), os.sched_param(0))
        take_long_turns()
        policies.append(os.sched_getscheduler(0))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert policies == [getattr(os, after)]
    assert os.sched_getscheduler(0) == os.SCHED_OTHER


@ON_GLIBC
@pytest.mark.parametrize(
    ("settings", "kept"), [((), False), (("keep_freed",), True), (("keep_freed", "give_back_at_once"), False)]
)
def test_freed_memory_is_kept_for_what_comes_next(settings: tuple[str, ...], kept: bool) -> None:
    """Pages that the system had to give for a block's images, those of the blocks before it being freed."""
    calls = "; ".join(f"process_settings.{name}()" for name in settings)
    code = f"""
import resource
from operators.base import process_settings
{calls}
def faults(): return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
def block(): return [bytes(100_000) for _ in range(300)]
for _ in range(3): block()
before = faults()
block()
print(faults() - before)
"""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment)
    pages = 300 * 100_000 / 4096
    assert int(done.stdout) < 0.1 * pages if kept else int(done.stdout) > 0.3 * pages
