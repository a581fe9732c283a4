"""Fitted artifacts: the same content is the same file, and a file is held to its sha256."""

from pathlib import Path

import numpy as np
import pytest

from operators.storage.artifacts import (
    Artifact,
    ArtifactError,
    ArtifactRef,
    find_artifact,
    locate_artifact,
    read_artifact,
    write_artifact,
)

PCA = Artifact(
    kind="pca",
    tensors={"mean": np.arange(3.0), "components": np.eye(3)[:2]},
    space={"embed": {"family": "null"}},
    rows=7,
    settings={"whiten": False},
)


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    ref = write_artifact(PCA, str(tmp_path / "photos__artifacts"))
    assert Path(ref.uri).name == f"pca-{ref.sha256[:16]}.safetensors"
    for found in (read_artifact(ref), find_artifact(ref.uri)[1]):
        assert (found.kind, found.space, found.rows, found.settings) == (PCA.kind, PCA.space, 7, {"whiten": False})
        np.testing.assert_array_equal(found.tensors["components"], PCA.tensors["components"])
    assert find_artifact(ref.uri)[0] == ref


def test_arrays_that_lie_otherwise_in_memory_are_the_same_artifact(tmp_path: Path) -> None:
    # safetensors 0.8 writes what lies in memory as if it were row by row (findings/safetensors-numpy-pca-scrambled.sh).
    mean, components = PCA.tensors["mean"], PCA.tensors["components"]
    columns = {"mean": np.repeat(mean, 2)[::2], "components": np.asfortranarray(components)}
    other = Artifact(kind="pca", tensors=columns, space=PCA.space, rows=7, settings={"whiten": False})
    ref = write_artifact(other, str(tmp_path))
    assert ref == write_artifact(PCA, str(tmp_path))
    np.testing.assert_array_equal(read_artifact(ref).tensors["components"], components)


def test_the_same_content_is_the_same_file(tmp_path: Path) -> None:
    other = Artifact(
        kind="pca", tensors=dict(reversed(PCA.tensors.items())), space=PCA.space, rows=7, settings={"whiten": False}
    )
    refs = {write_artifact(each, str(tmp_path)).sha256 for each in (PCA, other, PCA)}
    assert len(refs) == 1
    assert len(list(tmp_path.iterdir())) == 1


def test_a_replaced_file_is_refused(tmp_path: Path) -> None:
    ref = write_artifact(PCA, str(tmp_path))
    Path(ref.uri).write_bytes(Path(ref.uri).read_bytes()[:-1] + b"\x01")
    with pytest.raises(ArtifactError, match=f"recorded is {ref.sha256}"):
        read_artifact(ref)


@pytest.mark.parametrize("data", [b"", b"hello", b"\xff" * 64, b"\x02\0\0\0\0\0\0\0{}"])
def test_a_file_of_another_maker_is_refused(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "x.safetensors").write_bytes(data)
    with pytest.raises(ArtifactError, match="none of Pixlake's"):
        find_artifact(str(tmp_path / "x.safetensors"))


def test_a_missing_file_is_said_so(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="no such file"):
        read_artifact(ArtifactRef(uri=str(tmp_path / "gone.safetensors"), sha256="0" * 64))


def test_a_file_is_found_beside_a_table_that_was_moved_or_where_it_was(tmp_path: Path) -> None:
    ref = write_artifact(PCA, str(tmp_path / "here"))
    assert locate_artifact(ref, str(tmp_path / "there")) == ref
    (tmp_path / "here").rename(tmp_path / "there")
    found = locate_artifact(ref, str(tmp_path / "there"))
    assert read_artifact(found).rows == 7
    Path(found.uri).unlink()
    with pytest.raises(ArtifactError, match=rf"neither in .*there nor, as recorded, at .*here.*{ref.sha256}.* into"):
        locate_artifact(ref, str(tmp_path / "there"))


@pytest.mark.parametrize("uri", ["s3://KEY:hushhush@bucket/pca.safetensors", "s3://bucket/p.safetensors?sig=hushhush"])
def test_a_secret_in_a_uri_that_would_be_stored_is_refused_and_not_shown(uri: str) -> None:
    with pytest.raises(ArtifactError, match="leave credentials and signatures out") as refused:
        find_artifact(uri)
    assert "hush" not in str(refused.value)
