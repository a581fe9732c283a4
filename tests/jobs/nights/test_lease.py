"""One holder at a time, on a disk and on a real S3 server; a killed one holds nothing, a paused one gives up."""

import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from jobs.nights.lease import Lease, LeaseLostError
from operators.storage.stores import NO_OPTIONS, StorageOptions

Place = tuple[str, StorageOptions]


@pytest.fixture(params=["disk", pytest.param("s3", marks=pytest.mark.s3)])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    if request.param == "disk":
        return str(tmp_path / "lease"), NO_OPTIONS
    server: Any = request.getfixturevalue("s3")
    return f"s3://{server.bucket('lease')}/lake/photos__runs/lease", StorageOptions(**server.storage_options)


def test_one_holds_it_until_it_gives_it_back(place: Place) -> None:
    with Lease(*place) as first, Lease(*place) as second:
        assert first.take()
        first.check()
        assert not second.take()
        assert second.holder is not None
        assert second.holder.host in str(second.holder)
    with Lease(*place) as third:
        assert third.take()


def test_of_many_at_once_one_gets_it(place: Place) -> None:
    leases, taken = [Lease(*place) for _ in range(8)], []
    gate = threading.Barrier(8)

    def take(lease: Lease) -> None:
        gate.wait()
        taken.append(lease.take())

    threads = [threading.Thread(target=take, args=(lease,)) for lease in leases]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(taken) == [False] * 7 + [True]
    for lease in leases:
        lease.__exit__(None, None, None)


def test_it_beats_for_as_long_as_it_is_held(tmp_path: Path) -> None:
    place = str(tmp_path / "lease"), NO_OPTIONS
    with Lease(*place, beat_s=0.1, stale_s=1.0) as held, Lease(*place, stale_s=1.0) as other:
        assert held.take()
        for _ in range(4):
            time.sleep(0.4)
            assert not other.take()
        held.check()


def test_a_holder_that_does_not_beat_loses_it_and_knows(place: Place) -> None:
    # S3 keeps whole seconds.
    with Lease(*place, beat_s=60, stale_s=2.5) as paused, Lease(*place, stale_s=2.5) as other:
        assert paused.take()
        assert not other.take()
        time.sleep(3.6)
        with pytest.raises(LeaseLostError, match="taken over"):
            paused.check()
        assert other.take()


def test_a_holder_that_wakes_up_finds_the_later_one_and_disturbs_nothing(tmp_path: Path) -> None:
    place = str(tmp_path / "lease"), NO_OPTIONS
    with Lease(*place, beat_s=1.2, stale_s=0.5) as sleepy, Lease(*place, beat_s=0.1, stale_s=100) as other:
        assert sleepy.take()
        time.sleep(0.7)
        other._stale_s = 0.5
        assert other.take()
        time.sleep(0.8)
        with pytest.raises(LeaseLostError):
            sleepy.check()
        sleepy.__exit__(None, None, None)
        other.check()
        assert not Lease(*place).take()


def test_a_killed_holder_of_this_machine_holds_nothing(place: Place, tmp_path: Path) -> None:
    uri, storage = place
    secrets = {"key": storage.key, "secret": storage.secret}
    options = storage.model_dump(exclude={"key", "secret"}) | {
        k: v and v.get_secret_value() for k, v in secrets.items()
    }
    code = (
        "import time\nfrom jobs.nights.lease import Lease\nfrom operators.storage.stores import StorageOptions\n"
        f"lease = Lease({uri!r}, StorageOptions(**{options!r}))\nprint(lease.take(), flush=True)\ntime.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "True\n"
        with Lease(*place) as other:
            assert not other.take()
            process.send_signal(signal.SIGKILL)
            process.wait()
            assert other.take()


def test_what_earlier_holders_left_is_cleared_away(tmp_path: Path) -> None:
    folder = tmp_path / "lease"
    for _ in range(3):
        with Lease(str(folder), NO_OPTIONS) as lease:
            assert lease.take()
    assert [path.name for path in folder.iterdir()] == ["term-0000000003.json"]
