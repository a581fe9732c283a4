"""The table that several tests of this folder read; none of them writes to it."""

import pytest

from made.table import Made, make


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    return make(tmp_path_factory.mktemp("made"))
