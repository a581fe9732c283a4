"""A manifest without rows, and one without a single good row: both complete, and the second one says so loudly."""

from pathlib import Path

from end_to_end.audit import Expected, audit
from end_to_end.command import embed_here
from made.sources import write_manifest


def test_an_empty_manifest_completes_with_no_rows(tmp_path: Path) -> None:
    manifest, table = write_manifest(tmp_path / "empty.parquet", []), f"{tmp_path}/lake/photos"
    ended = embed_here(manifest, table, "--json")
    assert ended.code == 0, ended.err
    assert (ended.json["status"], ended.json["rows"]) == ("complete", 0)
    audit(table, [])
    assert embed_here(manifest, table).code == 0


def test_a_manifest_of_bad_rows_only_completes_with_all_in_failures(tmp_path: Path) -> None:
    (tmp_path / "note.png").write_text("no image")
    expected = [
        Expected(None, failure="bad_uri"),
        Expected(f"{tmp_path}/gone.png", failure="not_found"),
        Expected(f"{tmp_path}/note.png", failure="unsupported_format"),
        Expected("/etc/hostname", failure="blocked_source"),
        Expected("ftp://example.com/a.png", failure="blocked_source"),
    ]
    manifest, table = write_manifest(tmp_path / "bad.parquet", expected), f"{tmp_path}/lake/photos"
    ended = embed_here(manifest, table, "--json")
    assert ended.code == 4, ended.err
    assert (ended.json["vectors"], ended.json["failures"]) == (0, len(expected))
    audit(table, expected)
    again = embed_here(manifest, table, "--json")
    assert (again.code, again.json["embedded_now"], again.json["failed_now"]) == (4, 0, 0)
    assert embed_here(manifest, table, "--max-failed", "1").code == 0
