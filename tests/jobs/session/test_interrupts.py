"""Real signals, sent to a process of their own."""

import signal
import subprocess
import sys
import threading

import pytest

from jobs.session.interrupts import Interrupts

WAITS = """
import os, signal, sys, time
from jobs.session.interrupts import Interrupts
# A shell starts what runs in the background, these tests too, with SIGINT ignored.
signal.signal(signal.SIGINT, signal.default_int_handler)
with Interrupts() as interrupts:
    if "early" in sys.argv:
        print("ready", flush=True)
        time.sleep(20)
        sys.exit("the signal did nothing")
    waiting = interrupts.deferred()
    waiting.__enter__()
    print("ready", flush=True)
    if not interrupts.stop.wait(20):
        sys.exit("no signal came")
    print("stopping", flush=True)
    if "slow" in sys.argv:
        time.sleep(20)
        sys.exit("the second signal did nothing")
before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
print(before == (signal.default_int_handler, signal.SIG_DFL))
"""


def started(*arguments: str) -> "subprocess.Popen[str]":
    process = subprocess.Popen(
        [sys.executable, "-c", WAITS, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_first_signal_asks_to_stop_and_handlers_are_put_back(number: int) -> None:
    process = started()
    process.send_signal(number)
    out, err = process.communicate(timeout=30)
    assert (process.returncode, out, err) == (0, "stopping\nTrue\n", "")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_before_there_is_anything_to_end_cleanly_the_first_signal_stops_at_once(number: int) -> None:
    process = started("early")
    process.send_signal(number)
    _, err = process.communicate(timeout=15)
    assert "KeyboardInterrupt" in err
    assert "did nothing" not in err


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_second_signal_stops_at_once(number: int) -> None:
    process = started("slow")
    process.send_signal(signal.SIGTERM)
    assert process.stdout is not None
    assert process.stdout.readline() == "stopping\n"
    process.send_signal(number)
    _, err = process.communicate(timeout=15)
    assert "KeyboardInterrupt" in err
    assert "did nothing" not in err


INTERRUPTED_AT_EACH_LINE = """
import signal, sys
from jobs.session.interrupts import Interrupts

def lines_before(at):
    seen = 0
    def line(frame, event, argument):
        nonlocal seen
        if event == "line":
            seen += 1
            if seen == at:
                signal.raise_signal(signal.SIGTERM)
        return line
    with Interrupts() as interrupts, interrupts.deferred():
        sys.settrace(lambda frame, event, argument: line if frame.f_code.co_name == "wait" else None)
        asked = interrupts.stop.wait(0.5)
        sys.settrace(None)
    return seen, asked

at = 1
while (found := lines_before(at))[0] >= at:
    assert found[1], f"asked at line {at} and not noticed"
    at += 1
print(at > 3)
"""


def test_a_signal_at_any_moment_of_a_wait_is_noticed() -> None:
    ended = subprocess.run(
        [sys.executable, "-c", INTERRUPTED_AT_EACH_LINE], capture_output=True, text=True, timeout=60, check=False
    )
    assert (ended.stdout, ended.stderr) == ("True\n", "")


def test_in_another_thread_nothing_is_caught() -> None:
    before = signal.getsignal(signal.SIGINT)
    seen = []

    def enter() -> None:
        with Interrupts() as interrupts:
            seen.append((signal.getsignal(signal.SIGINT), interrupts.stop.is_set()))

    thread = threading.Thread(target=enter)
    thread.start()
    thread.join()
    assert seen == [(before, False)]
