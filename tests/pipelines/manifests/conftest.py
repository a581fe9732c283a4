"""What tests of requests to a bucket share."""

from collections.abc import Iterator
from typing import Any

import pytest

from servers.recording_proxy import RecordingProxy


@pytest.fixture
def proxy(s3: Any) -> Iterator[RecordingProxy]:
    proxy = RecordingProxy(s3.endpoint_url)
    yield proxy
    proxy.close()
