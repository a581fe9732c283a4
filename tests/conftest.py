"""Fixtures that several test folders share: a real S3 server, started once a session and only where a test asks."""

from collections.abc import Iterator

import pytest
from hypothesis import settings

from servers.s3 import S3Server, s3_server

# The same examples each time, and no deadline that a busy machine misses.
settings.register_profile("pixlake", deadline=None, derandomize=True)
settings.load_profile("pixlake")


@pytest.fixture(scope="session", autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """What is remembered of weights stays out of the home folder of whoever runs the tests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="session")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    with s3_server(tmp_path_factory.mktemp("seaweedfs")) as server:
        yield server
