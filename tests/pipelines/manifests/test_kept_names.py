"""Names that a table cannot hold or that would be mistaken, and what kept columns are called instead."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from made.manifests import manifest_of
from operators.storage.stores import NO_OPTIONS
from pipelines.manifests.kept_names import LANCES_OWN, check_names, check_unmistakable, kept_as
from pipelines.manifests.manifest import Manifest, SourceConfig, SourceError
from pipelines.sources.source import Source
from pipelines.sources.work import shard_work


def source(*keep: str, **rename: str) -> SourceConfig:
    return SourceConfig(uri="m.parquet", keep=keep, rename=rename)


@pytest.mark.parametrize(
    ("name", "cure"),
    [
        ("exif.make", "exif_make"),
        (".", "column"),
        ("a`b", "a_b"),
        ("*", "column"),
        ("a\0", "a"),
        ("", "column"),
        *[(name, name.strip("_")) for name in sorted(LANCES_OWN)],
        ("id", "manifest_id"),
        ("vector", "manifest_vector"),
        ("error", "manifest_error"),
        ("seconds_of_day", "manifest_seconds_of_day"),
        ("vector_dino", "manifest_vector_dino"),
        ("pixels_vector_dino", "manifest_pixels_vector_dino"),
    ],
)
def test_a_name_that_no_table_can_hold_is_refused_with_one_that_it_can(name: str, cure: str) -> None:
    vectors = ["vector", "vector_dino"]
    with pytest.raises(SourceError, match=rf"^keep: .*--rename '?\S*={cure}'? \(source\.rename in a file\)$"):
        check_names(source("label", name), vectors)
    check_names(SourceConfig(uri="m", keep=("label", name), rename={name: cure}), vectors)


@pytest.mark.parametrize("name", [" label", "a b", "naïve", "select", "_x", "Stage", 'a"b', "1", "a/b", "a\nb"])
def test_a_name_that_lance_can_hold_is_kept(name: str) -> None:
    check_names(source(name), ["vector"])
    check_unmistakable(source(name), ["vector"], ())
    assert kept_as(source(name)) == {name: name}


@pytest.mark.parametrize(
    ("keep", "cure"),
    [
        (("score",), "manifest_score"),
        (("_score",), "manifest_score"),
        (("_distance",), "distance"),
        (("_relevance_score",), "relevance_score"),
        (("ID",), "manifest_ID"),
        (("Vector",), "manifest_Vector"),
        (("label", "Label"), "manifest_label"),
    ],
)
def test_a_name_that_would_be_mistaken_is_refused_unless_the_table_has_it_already(
    keep: tuple[str, ...], cure: str
) -> None:
    check_names(source(*keep), ["vector"])
    with pytest.raises(SourceError, match=rf"--rename \S+={cure} "):
        check_unmistakable(source(*keep), ["vector"], ("id", "uri"))
    check_unmistakable(source(*keep), ["vector"], ("id", *keep))


def test_what_is_renamed_must_be_kept_and_to_a_name_of_its_own() -> None:
    with pytest.raises(SourceError, match="rename: 'b' is no kept column"):
        check_names(source("a", b="c"))
    with pytest.raises(SourceError, match="'b', renamed to 'a' is what 'a' is called already"):
        check_names(source("a", "b", b="a"))
    with pytest.raises(SourceError, match=r"'b', renamed to 'x\.y' has a dot"):
        check_names(source("b", b="x.y"))
    check_names(source("a", "b", a="b", b="a"))


@pytest.fixture
def opened(tmp_path: Path) -> Callable[..., Manifest]:
    def open_it(uri: Path, **options: Any) -> Manifest:
        return manifest_of(SourceConfig(uri=str(uri), **options), NO_OPTIONS, str(tmp_path / "work"))

    return open_it


@pytest.mark.parametrize("kind", ["parquet", "csv", "jsonl"])
def test_renamed_columns_are_read_from_every_kind_of_manifest(
    tmp_path: Path, opened: Callable[..., Manifest], kind: str
) -> None:
    rows = [
        {"uri": f"s3://b/{n}", "exif": f"e{n}", "exif.make": f"m{n}", "score": f"{n}", "": f"-{n}"} for n in range(5)
    ]
    path = tmp_path / f"m.{kind}"
    if kind == "parquet":
        pq.write_table(pa.Table.from_pylist(rows), path)
    elif kind == "csv":
        path.write_text("\n".join(",".join(row) for row in [list(rows[0]), *(row.values() for row in rows)]))
    else:
        path.write_text("\n".join(map(json.dumps, rows)))
    rename = {"exif.make": "make", "score": "exif_score", "": "index"}
    manifest = opened(path, keep=("score", "exif.make", "exif", ""), rename=rename)
    [shard] = manifest.shards
    work = shard_work(shard, 0, np.ones(5, bool))
    assert work is not None
    read = pa.concat_tables(Source(columns=manifest.columns).read(work, 2))
    assert read.column_names[4:8] == ["exif_score", "make", "exif", "index"]
    assert read.select(["exif_score", "make", "exif", "index"]).to_pylist() == [
        {"exif_score": f"{n}", "make": f"m{n}", "exif": f"e{n}", "index": f"-{n}"} for n in range(5)
    ]


def test_only_a_renaming_that_renames_is_part_of_the_digest(tmp_path: Path, opened: Callable[..., Manifest]) -> None:
    path = tmp_path / "m.parquet"
    pq.write_table(pa.table({"uri": ["s3://b/1"], "label": ["x"]}), path)
    plain = opened(path, keep=("label",)).digest
    assert opened(path, keep=("label",), rename={"label": "label"}).digest == plain
    other = opened(path, keep=("label",), rename={"label": "kind"}).digest
    assert other != plain
    assert opened(path, keep=("label",), rename={"label": "kind"}).digest == other


def test_a_source_without_columns_renames_none(tmp_path: Path, opened: Callable[..., Manifest]) -> None:
    (tmp_path / "m.txt").write_text("s3://b/1\n")
    with pytest.raises(SourceError, match="rename is set, but a text manifest has no columns"):
        opened(tmp_path / "m.txt", rename={"a": "b"})
