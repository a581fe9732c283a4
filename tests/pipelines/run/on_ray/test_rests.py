"""A main thread that looks a hundred times a second, as in Ray's workers, looks when something can come of it alone.
Each in a process of its own: signals are of the main thread."""

import json
import os
import subprocess
import sys

LOOP = """
import json, os, signal, threading, time
from pipelines.run.on_ray.rests import IDLE_S, RestWhenFull, RestWhenIdle

looks = []
def main_loop(seconds, work=lambda: None):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        time.sleep(0.01)
        looks.append(time.monotonic())
        work()
"""


def looks_of(code: str) -> dict[str, float]:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(
        [sys.executable, "-c", LOOP + code], capture_output=True, text=True, check=True, env=environment, timeout=30
    )
    figures: dict[str, float] = json.loads(done.stdout)
    return figures


def test_it_looks_while_a_call_could_come_and_not_while_all_are_at_work() -> None:
    """Two calls, then one, then two again, half a second each."""
    figures = looks_of("""
rest = RestWhenFull(2)
begun = time.monotonic()
def calls(*spans):
    for start, end in spans:
        time.sleep(max(0, begun + start - time.monotonic()))
        with rest.call():
            time.sleep(max(0, begun + end - time.monotonic()))
for spans in [((0.0, 1.5),), ((0.0, 0.5), (1.0, 1.5))]:
    threading.Thread(target=calls, args=spans).start()
main_loop(1.6)
print(json.dumps({str(at): sum(begun + at + 0.05 < look < begun + at + 0.5 for look in looks) for at in (0, 0.5, 1)}))
""")
    assert figures["0"] <= 2
    assert figures["1"] <= 2
    assert figures["0.5"] > 10


def test_what_waits_for_it_is_begun_as_soon_as_a_call_is_over() -> None:
    figures = looks_of("""
rest = RestWhenFull(2)
over = []
def call(seconds):
    with rest.call():
        time.sleep(seconds)
    over.append(time.monotonic())
for seconds in (0.3, 0.9):
    threading.Thread(target=call, args=(seconds,)).start()
main_loop(0.35)
print(json.dumps({"late": min(look for look in looks if look > over[0]) - over[0]}))
""")
    assert figures["late"] < 0.1


def test_a_worker_that_is_told_to_end_does_so_in_the_midst_of_a_rest() -> None:
    figures = looks_of("""
rest = RestWhenFull(2)
class Told(BaseException): pass
def end(number, frame): raise Told
signal.signal(signal.SIGTERM, end)
def call():
    with rest.call():
        time.sleep(2.5)
for _ in range(2):
    threading.Thread(target=call, daemon=True).start()
threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGTERM)).start()
begun = time.monotonic()
try:
    main_loop(3)
except Told:
    print(json.dumps({"after": time.monotonic() - begun}))
""")
    assert 0.2 < figures["after"] < 1


def test_one_call_at_a_time_is_made_by_the_main_thread_and_nothing_rests() -> None:
    figures = looks_of("""
rest = RestWhenFull(1)
def work():
    with rest.call():
        time.sleep(0.001)
main_loop(0.5, work)
print(json.dumps({"looks": len(looks), "handled": signal.getsignal(signal.SIGALRM) != signal.SIG_DFL}))
""")
    assert figures["looks"] > 10
    assert not figures["handled"]


def test_an_idle_worker_looks_ten_times_a_second_and_is_not_held_up_in_a_call() -> None:
    """After a second two calls, one right after the other, of 0.3 s of CPU each: the second one has been going on for
    0.2 s when the rest after the first one would begin."""
    figures = looks_of("""
rest = RestWhenIdle()
begun, took = time.monotonic(), []
def spin():
    started = time.process_time()
    while time.process_time() - started < 0.3:
        pass
def work():
    if time.monotonic() - begun > 1.0 and not took:
        for _ in range(2):
            started = time.monotonic()
            spin()
            rest.called()
            took.append(time.monotonic() - started)
main_loop(1.95, work)
print(json.dumps({"idle": sum(begun + 0.25 < look < begun + 1 for look in looks), "calls": len(took),
                  "took": max(took), "rest": IDLE_S}))
""")
    assert figures["calls"] == 2
    # Rests of 0.1 s, each after a millisecond of work, would make it thirty seconds.
    assert figures["took"] < 5
    assert figures["idle"] <= 2 * 0.75 / figures["rest"]
