"""More manifests into one table: appended, known ids left out if asked, nothing twice."""

from pathlib import Path

import lance

from end_to_end.audit import Expected, audit, num_versions
from end_to_end.command import embed_here
from made.sources import make_folder, write_manifest

BY_KEY = ("--set", "source.id_column=key")


def named(expected: list[Expected]) -> list[Expected]:
    return [Expected(each.uri, each.number, id=f"image-{each.number}") for each in expected]


def test_a_second_manifest_is_appended(tmp_path: Path) -> None:
    expected = make_folder(tmp_path / "images", range(50))
    table = f"{tmp_path}/lake/photos"
    for name, part in (("first", expected[:30]), ("second", expected[30:])):
        ended = embed_here(write_manifest(tmp_path / f"{name}.parquet", part), table, "--json")
        assert (ended.code, ended.json["rows"], ended.json["vectors"]) == (0, len(part), len(part)), ended.err
    audit(table, expected)


def test_skip_existing_leaves_out_ids_of_the_table(tmp_path: Path) -> None:
    expected = named(make_folder(tmp_path / "images", range(50)))
    table = f"{tmp_path}/lake/photos"
    first = write_manifest(tmp_path / "first.parquet", expected[:30])
    # Rows 20 to 29 come again, from another place, under the ids that the table has.
    make_folder(tmp_path / "copies", range(20, 30))
    copies = [Expected(str(tmp_path / f"copies/{n:05d}.png"), n, id=f"image-{n}") for n in range(20, 30)]
    second = write_manifest(tmp_path / "second.parquet", copies + expected[30:])
    assert embed_here(first, table, *BY_KEY).code == 0
    ended = embed_here(second, table, *BY_KEY, "--skip-existing", "--json")
    assert ended.code == 0, ended.err
    assert [ended.json[key] for key in ("rows", "vectors", "skipped", "embedded_now")] == [30, 20, 10, 20]
    audit(table, expected, gaps=True)
    again = embed_here(second, table, *BY_KEY, "--skip-existing", "--json")
    assert (again.code, again.json["status"], again.json["embedded_now"]) == (0, "complete", 0)
    audit(table, expected, gaps=True)


def test_rows_left_out_stay_out_when_failures_are_tried_again(tmp_path: Path) -> None:
    expected = named(make_folder(tmp_path / "images", range(20)))
    late = Expected(str(tmp_path / "images/late.png"), 99, id="image-99", failure="not_found")
    table = f"{tmp_path}/lake/photos"
    first = write_manifest(tmp_path / "first.parquet", expected[:10])
    second = write_manifest(tmp_path / "second.parquet", [*expected, late])
    assert embed_here(first, table, *BY_KEY).code == 0
    assert embed_here(second, table, *BY_KEY, "--skip-existing").code == 0
    audit(table, [*expected, late], gaps=True)
    ended = embed_here(second, table, *BY_KEY, "--retry-failed", "--json")
    assert (ended.code, ended.json["embedded_now"], ended.json["failed_now"]) == (0, 0, 1), ended.err
    audit(table, [*expected, late], gaps=True)


def test_the_same_manifest_again_does_nothing(tmp_path: Path) -> None:
    expected = make_folder(tmp_path / "images", range(10))
    manifest, table = write_manifest(tmp_path / "manifest.parquet", expected), f"{tmp_path}/lake/photos"
    assert embed_here(manifest, table).code == 0
    files, before = data_files(table), num_versions(table)
    ended = embed_here(manifest, table)
    assert ended.code == 0
    assert "nothing to do" in ended.out
    assert data_files(table) == files
    vectors, failures = num_versions(table)
    # A claim, and on a table that holds rows the barrier behind it.
    assert vectors - before[0] <= 2
    assert failures - before[1] <= 2
    audit(table, expected)


def data_files(table: str) -> set[str]:
    return {file.path for f in lance.dataset(f"{table}.lance").get_fragments() for file in f.metadata.files}
