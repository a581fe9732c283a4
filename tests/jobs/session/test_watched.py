"""A command and the parent that watches it, as real processes that are really killed."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from end_to_end.processes import descendants, wait_until
from jobs.session.watched import PASS_ON_S, PassOn

ROOT = Path(__file__).parents[3]
WATCHED = """
import json, os, signal, sys, time
from jobs.session import watched
from jobs.session.watched import native_output, say, say_ended, watch
end = watch()
if end is not None:
    print(json.dumps([end.code, end.status, end.words, end.native]))
    sys.exit(0)
"""


def start(child: str) -> "subprocess.Popen[str]":
    """Python that runs the text in the watched child; the parent prints how it ended."""
    command = [sys.executable, "-c", WATCHED + child]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, start_new_session=True)


def end(process: "subprocess.Popen[str]") -> list[Any]:
    out, _ = process.communicate(timeout=60)
    found: list[Any] = json.loads(out.splitlines()[-1])
    return found


@pytest.mark.parametrize(
    ("child", "told"),
    [
        ("say_ended(4); os._exit(4)", [4, 4, {}, ""]),
        ("say_ended(0); os.kill(os.getpid(), signal.SIGABRT)", [0, -signal.SIGABRT, {}, ""]),
        ("os._exit(1)", [None, 1, {}, ""]),
        ("os.kill(os.getpid(), signal.SIGKILL)", [None, -signal.SIGKILL, {}, ""]),
        ("say('rows', 1); say('at', 'x'); say('rows', 2); os._exit(1)", [None, 1, {"rows": 2, "at": "x"}, ""]),
        ("os.write(native_output(), b'GCS is gone\\n'); os._exit(1)", [None, 1, {}, "GCS is gone"]),
        # A message that a signal cut short.
        (
            "say('a', 1); os.write(watched._voice.said, b'{\"wor'); say('b', 2); os._exit(1)",
            [None, 1, {"a": 1, "b": 2}, ""],
        ),
        # More than pipes hold, and more of a library's than is kept.
        ("say('long', 'x' * 300_000); os._exit(1)", [None, 1, {"long": "x" * 300_000}, ""]),
        ("os.write(native_output(), b'a' * 200_000 + b'end'); os._exit(1)", [None, 1, {}, "a" * 65_533 + "end"]),
    ],
)
def test_the_parent_is_told_how_the_child_ended(child: str, told: list[Any]) -> None:
    assert end(start(child)) == told


COUNTING = """
count = 0
def on_signal(number, frame):
    global count
    count += 1
    say("count", count)
signal.signal(signal.SIGTERM, on_signal)
print("ready", flush=True)
until = time.monotonic() + 1.5
while time.monotonic() < until:
    time.sleep(0.05)
say_ended(0)
os._exit(0)
"""


@pytest.mark.parametrize("whom", ["parent", "child", "both"])
def test_a_signal_reaches_the_child_once_whoever_gets_it(whom: str) -> None:
    process = start(COUNTING)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    if whom == "parent":
        process.send_signal(signal.SIGTERM)
    elif whom == "child":
        os.kill(next(iter(descendants(process.pid))), signal.SIGTERM)
    else:
        os.killpg(process.pid, signal.SIGTERM)
    assert end(process) == [0, 0, {"count": 1}, ""]


def test_the_child_ends_with_its_parent() -> None:
    process = start("print('ready', flush=True); time.sleep(60)")
    assert process.stdout is not None
    process.stdout.readline()
    child = next(iter(descendants(process.pid)))
    process.kill()
    process.communicate()
    wait_until(lambda: not Path(f"/proc/{child}").exists() or "Z" in _state(child), 10)


def _state(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return "Z"


def test_where_nobody_watches_nothing_is_said() -> None:
    started = time.monotonic()
    text = "from jobs.session.watched import native_output, say, say_ended\nsay('a', 1)\nsay_ended(0)\n"
    text += "assert native_output() is None"
    assert subprocess.run([sys.executable, "-c", text], cwd=ROOT, check=False).returncode == 0
    assert time.monotonic() - started < 60


def test_a_signal_is_passed_on_after_a_while_and_its_arrival_there_is_no_new_one() -> None:
    pass_on = PassOn()
    pass_on.arrived(15, 10.0)
    assert pass_on.waiting
    assert pass_on.due(10.0 + PASS_ON_S / 2) == []
    assert pass_on.due(10.01 + PASS_ON_S) == [15]
    pass_on.got(15, 10.01 + PASS_ON_S)
    pass_on.arrived(15, 10.02 + PASS_ON_S)
    assert pass_on.due(10.2 + 2 * PASS_ON_S) == [15]


@pytest.mark.parametrize("child_first", [True, False])
def test_what_the_child_has_got_is_not_passed_on(child_first: bool) -> None:
    pass_on = PassOn()
    for of_child in (child_first, not child_first):
        (pass_on.got if of_child else pass_on.arrived)(2, 5.0)
    assert not pass_on.waiting
    # Another signal, and one of long ago, stand for nothing.
    pass_on.got(15, 6.0)
    pass_on.arrived(2, 6.0)
    pass_on.arrived(15, 7.0)
    assert sorted(pass_on.due(9.0)) == [2, 15]
