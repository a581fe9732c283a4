"""A folder of images through the command and Ray: rows, vectors, failures, output and report, and `run_local` equal.

In a small form `test_manifest_on_s3` has the same: a table made on Ray, equal to one made here, and nothing to do
again."""

import json
import time
from pathlib import Path

import lance
import pyarrow as pa
import pytest

from end_to_end.audit import Expected, audit, num_versions
from end_to_end.command import RAY, embed_here, pixlake
from made.sources import make_folder


@pytest.mark.ray
@pytest.mark.slow
def test_a_folder_is_embedded_and_again_is_nothing_to_do(tmp_path: Path) -> None:
    good = make_folder(tmp_path / "images", range(300))
    (tmp_path / "images/90000.png").write_text("no image")
    (tmp_path / "images/90001.jpg").write_bytes(b"\xff\xd8\xff\xe0 cut off")
    (tmp_path / "images/notes.txt").write_text("not read")
    bad = [
        Expected(str(tmp_path / "images/90000.png"), failure="unsupported_format"),
        Expected(str(tmp_path / "images/90001.jpg"), failure="truncated"),
    ]
    table = f"{tmp_path}/lake/photos"
    ended = pixlake("embed", f"{tmp_path}/images", table, *RAY, "--set", "cluster.block_rows=50", "--json")
    assert ended.code == 0, ended.err
    assert [ended.json[key] for key in ("status", "rows", "vectors", "failures")] == ["complete", 302, 300, 2]
    audit(table, good + bad)
    stored = json.loads((tmp_path / f"lake/photos__runs/{ended.json['run_id']}/report.json").read_text())
    assert stored == ended.json

    before, started = num_versions(table), time.monotonic()
    again = pixlake("embed", f"{tmp_path}/images", table, *RAY)
    assert (again.code, num_versions(table)) == (0, before), again.err
    assert "nothing to do" in again.out
    assert "Ray" not in again.err
    assert time.monotonic() - started < 20

    assert embed_here(f"{tmp_path}/images", f"{tmp_path}/lake/local").code == 0
    for suffix in ("", "__failures"):
        on_ray, local = (by_position(f"{tmp_path}/lake/{name}{suffix}.lance") for name in ("photos", "local"))
        assert on_ray.equals(local)


def by_position(uri: str) -> pa.Table:
    return lance.dataset(uri).to_table().sort_by([("shard", "ascending"), ("row", "ascending")])
