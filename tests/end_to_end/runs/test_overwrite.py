"""`--overwrite`: once for a table of Pixlake's, twice for any other."""

import shutil
from pathlib import Path

import lancedb

from end_to_end.audit import audit
from end_to_end.command import embed_here
from made.sources import make_folder


def test_once_for_a_table_of_pixlakes(tmp_path: Path) -> None:
    make_folder(tmp_path / "old", range(20))
    expected, table = make_folder(tmp_path / "new", range(100, 110)), f"{tmp_path}/lake/photos"
    assert embed_here(f"{tmp_path}/old", table).code == 0
    ended = embed_here(f"{tmp_path}/new", table, "--set", "normalize.dtype=float32", "--overwrite")
    assert ended.code == 0, ended.err
    audit(table, expected)


def test_twice_for_a_table_of_someone_elses(tmp_path: Path) -> None:
    expected, table = make_folder(tmp_path / "images", range(10)), f"{tmp_path}/lake/photos"
    theirs = lancedb.connect(f"{tmp_path}/lake").create_table("photos", [{"id": "a", "vector": [0.1, 0.2]}])
    for asked in ((), ("--overwrite",)):
        refused = embed_here(f"{tmp_path}/images", table, *asked)
        assert refused.code == 2
        assert "not made by Pixlake" in refused.err
        assert theirs.to_arrow().num_rows == 1
    ended = embed_here(f"{tmp_path}/images", table, "--overwrite", "--overwrite")
    assert ended.code == 0, ended.err
    audit(table, expected)


def test_a_source_that_cannot_be_opened_deletes_nothing(tmp_path: Path) -> None:
    expected, table = make_folder(tmp_path / "images", range(10)), f"{tmp_path}/lake/photos"
    assert embed_here(f"{tmp_path}/images", table).code == 0
    assert embed_here(f"{tmp_path}/mistyped", table, "--overwrite").code == 2
    audit(table, expected)


def test_failures_of_a_table_that_was_removed_by_hand_count_for_nothing(tmp_path: Path) -> None:
    expected, table = make_folder(tmp_path / "images", range(10)), f"{tmp_path}/lake/photos"
    good = (tmp_path / "images/00003.png").read_bytes()
    (tmp_path / "images/00003.png").write_text("no image")
    assert embed_here(f"{tmp_path}/images", table).code == 0
    shutil.rmtree(f"{table}.lance")
    (tmp_path / "images/00003.png").write_bytes(good)
    refused = embed_here(f"{tmp_path}/images", table)
    assert refused.code == 2
    assert "holds failures of a table that is no longer there" in refused.err
    assert not Path(f"{table}.lance").exists()
    assert embed_here(f"{tmp_path}/images", table, "--overwrite").code == 0
    audit(table, expected)


def test_pools_that_do_not_fit_delete_nothing_however_many_rows_a_csv_turns_out_to_have(tmp_path: Path) -> None:
    expected, table = make_folder(tmp_path / "images", range(10)), f"{tmp_path}/lake/photos"
    assert embed_here(f"{tmp_path}/images", table).code == 0
    with open(tmp_path / "many.csv", "w") as file:
        file.write("id,uri\n")
        file.writelines(f"i{row},{tmp_path}/images/{row}.png\n" for row in range(130_000))
    stages = "cluster.stages=[{name: all, operators: [fetch, decode, embed, normalize], num_actors: 500}]"
    sets = ("--set", "cluster.executor=auto", "--set", "cluster.num_cpus=1", "--set", stages)
    refused = embed_here(f"{tmp_path}/many.csv", table, "--overwrite", *sets)
    assert refused.code == 2
    assert "the pools need" in refused.err
    audit(table, expected)
