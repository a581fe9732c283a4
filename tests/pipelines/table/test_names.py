import pytest

from pipelines.table.errors import RefusedError
from pipelines.table.names import TableNames


def test_names_are_laid_out_as_lancedb_does(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = TableNames.from_table("./lake/photos")
    assert names.database == f"{tmp_path}/lake"
    assert names.vectors == f"{tmp_path}/lake/photos.lance"
    assert names.failures == f"{tmp_path}/lake/photos__failures.lance"
    assert names.deleted == f"{tmp_path}/lake/photos__deleted.lance"
    assert names.runs == f"{tmp_path}/lake/photos__runs"


@pytest.mark.parametrize("table", ["s3://b/lake/photos", "s3://b/lake/photos/", "s3://b/lake/photos.lance"])
def test_one_table_however_it_is_written(table):
    names = TableNames.from_table(table)
    assert (names.database, names.name) == ("s3://b/lake", "photos")
    assert names.vectors == "s3://b/lake/photos.lance"


def test_a_table_at_the_root_of_a_bucket():
    assert TableNames.from_table("s3://b/photos").failures == "s3://b/photos__failures.lance"


@pytest.mark.parametrize(
    "table",
    [
        "",
        "./lake/a b",
        "s3://b/lake/-x",
        "./x__failures",
        "./x__runs",
        "./x__deleted",
        "https://h/lake/photos",
        "./lake/..x",
    ],
)
def test_bad_names_are_refused(table):
    with pytest.raises(RefusedError, match="table"):
        TableNames.from_table(table)


@pytest.mark.parametrize(
    "folder",
    [
        "db#1",
        "dc?x=1",
        "lake%20one",
        "lake%2Fone",
        "a\\b",
        "a//b",
        "/a",
        "./a",
        "a/./b",
        "a/..",
        "../a",
        "a\tb",
        "a\x7fb",
    ],
)
@pytest.mark.parametrize("scheme", ["s3", "gs", "az", "s3a"])
def test_an_address_that_lance_reads_as_another_one_is_refused(scheme, folder):
    """The URL standard: `#` and `?` end a path, `%20` is a space, `..` goes up. A bucket's key takes all of them
    literally."""
    with pytest.raises(RefusedError, match="its address holds"):
        TableNames.from_table(f"{scheme}://b/{folder}/t1")


@pytest.mark.parametrize("folder", ["lake one", "100%", "a[1]*", "ünï", "..a", "a..", ".a", "...", "a&b=c"])
def test_other_addresses_are_taken_letter_for_letter(folder):
    """Lance 13.0.0 put a table into each of these on SeaweedFS 4.48, and obstore found it under that very key."""
    assert TableNames.from_table(f"s3://b/{folder}/t1").vectors == f"s3://b/{folder}/t1.lance"


@pytest.mark.parametrize("folder", ["db#1", "dc?x=1", "lake%20one"])
def test_a_local_folder_has_any_name(tmp_path, folder):
    assert TableNames.from_table(f"{tmp_path}/{folder}/t1").vectors == f"{tmp_path}/{folder}/t1.lance"
