"""`--limit`: the first rows now, the others later, in their places."""

from pathlib import Path

import pytest

from end_to_end.audit import audit
from end_to_end.command import embed_here
from made.sources import make_folder, write_manifest


@pytest.mark.parametrize("kind", ["parquet", "csv", "jsonl", "txt"])
def test_the_same_manifest_goes_on_without_the_limit(tmp_path: Path, kind: str) -> None:
    expected, table = make_folder(tmp_path / "images", range(40)), f"{tmp_path}/lake/photos"
    manifest = tmp_path / f"manifest.{kind}"
    uris = [each.uri or "" for each in expected]
    if kind == "parquet":
        write_manifest(manifest, expected, row_group_size=15)
    elif kind == "jsonl":
        manifest.write_text("".join(f'{{"uri": "{uri}"}}\n' for uri in uris))
    else:
        manifest.write_text("\n".join([*(["uri"] if kind == "csv" else []), *uris]) + "\n")
    arguments = (str(manifest), table, "--set", "source.rows_per_shard=15", "--json")
    for limit, rows in (("10", 10), ("20", 20), ("20", 20), ("5", 20)):
        ended = embed_here(*arguments, "--limit", limit)
        assert (ended.code, ended.json["status"]) == (0, "complete"), ended.err
        audit(table, expected[:rows], gaps=True)
    ended = embed_here(*arguments)
    assert (ended.code, ended.json["embedded_now"]) == (0, 20), ended.err
    audit(table, expected)
    assert embed_here(*arguments, "--limit", "10").json["embedded_now"] == 0


def test_a_listing_with_a_limit_is_a_manifest_of_its_own(tmp_path: Path) -> None:
    expected, table = make_folder(tmp_path / "images", range(40)), f"{tmp_path}/lake/photos"
    limited = embed_here(f"{tmp_path}/images", table, "--limit", "10", "--json")
    assert (limited.code, limited.json["vectors"]) == (0, 10), limited.err
    whole = embed_here(f"{tmp_path}/images", table, "--skip-existing", "--json")
    assert (whole.code, whole.json["skipped"], whole.json["vectors"]) == (0, 10, 30), whole.err
    audit(table, expected, gaps=True)
