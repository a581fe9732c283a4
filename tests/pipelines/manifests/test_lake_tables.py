"""Folders that are Delta or Iceberg tables, with the files that their specifications put there."""

from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from made.manifests import manifest_of
from operators.storage.stores import NO_OPTIONS
from pipelines.manifests.manifest import Manifest, SourceConfig, SourceError


@pytest.fixture
def opened(tmp_path: Path) -> Callable[[str], Manifest]:
    return lambda uri: manifest_of(SourceConfig(uri=f"{tmp_path}/{uri}"), NO_OPTIONS, str(tmp_path / "work"))


def put(path: Path, uri: str | None = None) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if uri is None:
        path.write_text("{}")
    else:
        pq.write_table(pa.table({"uri": [uri]}), path)


@pytest.mark.parametrize("source", ["lake/t", "lake"])
def test_a_delta_table_is_known_by_its_log(tmp_path: Path, opened: Callable[[str], Manifest], source: str) -> None:
    put(tmp_path / "lake/t/_delta_log/00000000000000000000.json")
    put(tmp_path / "lake/t/part-00000-0.snappy.parquet", "s3://b/deleted")
    put(tmp_path / "lake/t/part-00001-0.snappy.parquet", "s3://b/there")
    with pytest.raises(SourceError, match=rf"lake/t is a Delta table.*DeltaTable\('{tmp_path}/lake/t'\)\.to_py"):
        opened(source)
    assert opened("lake/t/**/*.parquet").num_rows == 2, "asked for by name"


@pytest.mark.parametrize("source", ["lake/t", "lake"])
def test_an_iceberg_table_is_known_by_its_metadata(
    tmp_path: Path, opened: Callable[[str], Manifest], source: str
) -> None:
    put(tmp_path / "lake/t/metadata/00001-0.metadata.json")
    put(tmp_path / "lake/t/data/00000-0.parquet", "s3://b/1")
    with pytest.raises(SourceError, match=r"lake/t is an Iceberg table.*StaticTable\.from_metadata"):
        opened(source)
    assert opened("lake/t/data/**/*.parquet").num_rows == 1
