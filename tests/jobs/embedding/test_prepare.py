"""What preparing a job asks of the place of its source, counted on the wire."""

import io
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from jobs.embed import load, plan
from operators.storage.stores import StorageOptions, filesystem
from servers.recording_proxy import RecordingProxy


@pytest.mark.s3
def test_a_job_looks_at_its_source_once(s3: Any, tmp_path: Path) -> None:
    bucket = s3.bucket("prepared")
    store, root = filesystem(f"s3://{bucket}", StorageOptions.model_validate(s3.storage_options))
    out = io.BytesIO()
    pq.write_table(pa.table({"uri": ["a.jpg"]}), out)
    store.pipe(f"{root}/lists/a.parquet", out.getvalue())
    proxy = RecordingProxy(s3.endpoint_url)
    try:
        base = {
            "source": {"uri": f"s3://{bucket}/lists"},
            "table": str(tmp_path / "t"),
            "model": {"name": "null"},
            "storage": {**s3.storage_options, "endpoint_url": proxy.url},
            "cluster": {"executor": "local"},
        }
        assert plan(load(base=base)).prepared.rows == 1
    finally:
        proxy.close()
    looks = [each for each in proxy.asked if each == f"HEAD {bucket}/lists" or each.startswith("LIST")]
    assert looks == [f"HEAD {bucket}/lists", f"LIST {bucket}/lists/"]
