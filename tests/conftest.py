"""Fixtures that several test folders share: a real S3 server, started once a session and only where a test asks."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from servers.s3 import S3Server, s3_server

TESTS = Path(__file__).parent

if "PYTEST_XDIST_WORKER" in os.environ:
    # Before anything imports torch: of processes that share the cores, OpenMP's threads in one spin while they wait for
    # those that another has driven off a core. On a busy machine 51 tests took 19 s of CPU,
    # and with a thread a core 19 of them 47 s.
    os.environ.setdefault("OMP_NUM_THREADS", "1")

# The same examples each time, and no deadline that a busy machine misses.
settings.register_profile("pixlake", deadline=None, derandomize=True)
settings.load_profile("pixlake")


LONG_FIRST = ("end_to_end/", "state_machine/", "pipelines/run/", "benchmarks/", "operators/models/", "jobs/")
"""Folders of the files that take tens of seconds each: begun last, one of them would go on alone while the other
processes have nothing left to do."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Takes effect with `--no-loadscope-reorder`, without which xdist begins with the files of most tests."""
    items.sort(key=_place_in_line)


def _place_in_line(item: pytest.Item) -> int:
    place = item.path.relative_to(TESTS).as_posix()
    return next((at for at, first in enumerate(LONG_FIRST) if place.startswith(first)), len(LONG_FIRST))


@pytest.fixture(scope="session", autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """What is remembered of weights stays out of the home folder of whoever runs the tests. It is one cache for all
    processes that share them: converting a model takes 5 to 9 s of CPU."""
    own = tmp_path_factory.getbasetemp()
    shared = own.parent if "PYTEST_XDIST_WORKER" in os.environ else own
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(shared / "cache"))
        yield


@pytest.fixture(scope="session")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    with s3_server(tmp_path_factory.mktemp("seaweedfs")) as server:
        yield server
