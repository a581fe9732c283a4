"""Seven nights on a real S3 server, audited each morning; the long form is `make nights`."""

from pathlib import Path
from typing import Any

import pytest

from end_to_end.command import pixlake_here
from nights.seven import LOCAL_NULL, a_world, seven_nights

PHOTOGRAPHS = 60


@pytest.mark.s3
def test_each_morning_the_table_is_what_the_bucket_is(s3: Any, tmp_path: Path) -> None:
    with a_world(s3, tmp_path, pixlake_here, LOCAL_NULL, exact=True) as world:
        seven_nights(world, PHOTOGRAPHS)
