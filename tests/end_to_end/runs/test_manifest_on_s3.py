"""Manifest, images and table on a real S3 server, through the command and Ray; then found by id; no secret kept."""

from typing import Any

import pytest

from end_to_end.audit import audit, read
from end_to_end.command import LOCAL, RAY, pixlake, pixlake_here
from made.s3_source import fill, lance_options, objects_holding

ROWS = 200


@pytest.mark.ray
@pytest.mark.s3
def test_all_on_s3(s3: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    bucket = s3.bucket("lake")
    store, expected = fill(s3, bucket, ROWS, missing=2)
    table = f"s3://{bucket}/lake/photos"
    settings = [f"--set=storage.{key}={s3.storage_options[key]}" for key in ("key", "secret", "region")]
    settings.append(f"--set=storage.endpoint_url={s3.endpoint_url}")
    kept = ("--set", "source.id_column=key", "--set", "source.keep=[label, rating]")
    source = f"s3://{bucket}/in/manifest.parquet"
    ended = pixlake("embed", source, table, *RAY, *settings, *kept, "--json")
    assert ended.code == 0, ended.err
    assert [ended.json[key] for key in ("vectors", "failures")] == [ROWS, 2]
    audit(table, expected, options=lance_options(s3))
    vectors, _ = read(table, lance_options(s3))
    for row in vectors.select(["id", "label", "rating"]).to_pylist():
        number = int(row["id"].removeprefix("image-"))
        assert (row["label"], row["rating"]) == (f"label {number}", number / 2)

    for name, value in s3.environment.items():
        monkeypatch.setenv(name, value)
    again = pixlake_here("embed", source, table, *RAY, *kept, "--json")
    assert (again.code, again.json["embedded_now"]) == (0, 0), again.err
    assert "Ray" not in again.err
    here = f"{table}-here"
    assert pixlake_here("embed", source, here, *LOCAL, *kept, "--set=decode.isolate=false").code == 0
    for there, local in zip(read(table, lance_options(s3)), read(here, lance_options(s3)), strict=True):
        order = [("shard", "ascending"), ("row", "ascending")]
        assert there.sort_by(order).equals(local.sort_by(order))
    found = pixlake_here("search", table, "--id", "image-7", "-k", "3", "--json")
    assert found.code == 0, found.err
    assert found.json["results"][0]["id"] == "image-7"
    assert found.json["results"][0]["score"] == pytest.approx(1, abs=1e-3)
    for ended_command in (ended, again, found):
        assert s3.secret not in ended_command.out + ended_command.err
    assert objects_holding(store, s3.secret.encode()) == []
