"""What the end-to-end tests share."""

from collections.abc import Iterator

import pytest

from servers.images import ImageServer


@pytest.fixture
def image_server() -> Iterator[ImageServer]:
    server = ImageServer()
    yield server
    server.close()
