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
