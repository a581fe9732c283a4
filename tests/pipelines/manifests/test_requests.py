"""What opening a source asks of a bucket, counted on the wire."""

import io
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from made.manifests import manifest_of
from made.vector_folders import write_folder
from operators.storage.stores import StorageOptions, filesystem
from pipelines.manifests import files
from pipelines.manifests.manifest import SourceConfig
from pipelines.manifests.open import open_source
from pipelines.manifests.vectors.folder import VectorFolder
from servers.recording_proxy import RecordingProxy

pytestmark = pytest.mark.s3


@pytest.fixture
def bucket(s3: Any) -> str:
    """Its name."""
    return str(s3.bucket("asked"))


def through(proxy: RecordingProxy, s3: Any) -> StorageOptions:
    return StorageOptions.model_validate({**s3.storage_options, "endpoint_url": proxy.url})


def put(s3: Any, bucket: str, **objects: bytes) -> None:
    store, root = filesystem(f"s3://{bucket}", StorageOptions.model_validate(s3.storage_options))
    for key, data in objects.items():
        store.pipe(f"{root}/{key}", data)


def list_of_uris() -> bytes:
    out = io.BytesIO()
    pq.write_table(pa.table({"uri": ["a.jpg"]}), out)
    return out.getvalue()


def looks_at(proxy: RecordingProxy, place: str) -> list[str]:
    """How the place itself was asked for, and what was listed of it: not the reading of files that were found."""
    return [each for each in proxy.asked if each == f"HEAD {place}" or each.startswith(f"LIST {place}")]


def test_a_folder_is_looked_at_once_whatever_it_holds(
    s3: Any, bucket: str, proxy: RecordingProxy, tmp_path: Path
) -> None:
    put(s3, bucket, **{"lists/a.parquet": list_of_uris(), "lists/b.parquet": list_of_uris(), "photos/0.jpg": b"x"})
    for folder in ("lists", "photos"):
        config = SourceConfig(uri=f"s3://{bucket}/{folder}")
        assert manifest_of(config, through(proxy, s3), str(tmp_path / "work")).num_rows
        assert looks_at(proxy, f"{bucket}/{folder}") == [f"HEAD {bucket}/{folder}", f"LIST {bucket}/{folder}/"]


def test_a_manifest_is_located_once(s3: Any, bucket: str, proxy: RecordingProxy, tmp_path: Path) -> None:
    """Then its version is asked for, and its length, by what reads Parquet."""
    put(s3, bucket, **{"a.parquet": list_of_uris()})
    manifest_of(SourceConfig(uri=f"s3://{bucket}/a.parquet"), through(proxy, s3), str(tmp_path / "work"))
    assert looks_at(proxy, f"{bucket}/a.parquet") == [f"HEAD {bucket}/a.parquet"] * 3


def test_ready_vectors_are_found_by_the_same_look(s3: Any, bucket: str, proxy: RecordingProxy, tmp_path: Path) -> None:
    made = write_folder(tmp_path / "v", [5, 3])
    put(s3, bucket, **{f"v/{path.relative_to(made)}": path.read_bytes() for path in made.rglob("*.*")})
    opened = open_source(SourceConfig(uri=f"s3://{bucket}/v"), through(proxy, s3))
    assert isinstance(opened, VectorFolder)
    assert opened.manifest.num_rows == 8
    assert looks_at(proxy, f"{bucket}/v") == [f"HEAD {bucket}/v", f"LIST {bucket}/v/"]


def test_beyond_a_page_ready_vectors_are_asked_for_by_themselves(
    s3: Any, bucket: str, proxy: RecordingProxy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They lie behind as many files as there may be."""
    monkeypatch.setattr(files, "LIST_CHUNK", 3)
    made = write_folder(tmp_path / "v", [5, 3])
    put(s3, bucket, **{f"v/{path.relative_to(made)}": path.read_bytes() for path in made.rglob("*.*")})
    put(s3, bucket, **{f"{folder}/{number}.jpg": b"x" for number in range(7) for folder in ("v", "photos")})
    found = open_source(SourceConfig(uri=f"s3://{bucket}/v"), through(proxy, s3))
    assert isinstance(found, VectorFolder)
    assert found.manifest.num_rows == 8
    assert looks_at(proxy, f"{bucket}/v")[-2:] == [f"LIST {bucket}/v/img_emb/", f"LIST {bucket}/v/metadata/"]
    for _ in range(2):
        # The second time it is compared with the first one's listing.
        photos = SourceConfig(uri=f"s3://{bucket}/photos")
        assert manifest_of(photos, through(proxy, s3), str(tmp_path / "work")).num_rows == 7
