"""One server for the folder, on a table of eight images; no test changes the table."""

from collections.abc import Iterator

import pytest

from made.served_table import make_served
from servers.page import Client, serving


@pytest.fixture(scope="session")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    with serving(make_served(tmp_path_factory.mktemp("served"))) as client:
        yield client
