"""Images with the same bytes under different addresses: embedded once, in every table all the same."""

import shutil
from pathlib import Path
from typing import Any

import lance
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from end_to_end.audit import Expected, audit
from end_to_end.command import Ended, pixlake_here
from made.solid_images import png_of
from made.sources import write_manifest

HERE = ("--set", "cluster.executor=local", "--set", "cluster.num_cpus=1", "--set", "decode.isolate=false")
DISTINCT, ROWS, BLOCK = 6, 40, 8
BROKEN = 5
"""The one of the distinct images that cannot be decoded."""
MODELS = ("--model", "a=null", "--model", "vit=timm:test_vit/random-0")
BOXES = "regions={kind: boxes, column: boxes}"


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> list[Expected]:
    """40 files, of which file N has the bytes of image N % 6; each sixth is broken."""
    folder = tmp_path_factory.mktemp("copies")
    for number in range(DISTINCT):
        (folder / f"{number:02}.png").write_bytes(png_of(number) if number != BROKEN else png_of(number)[:40])
    for number in range(DISTINCT, ROWS):
        shutil.copy(folder / f"{number % DISTINCT:02}.png", folder / f"{number:02}.png")
    return [expected(folder, number) for number in range(ROWS)]


def expected(folder: Path, number: int) -> Expected:
    content = number % DISTINCT
    failure = "truncated" if content == BROKEN else None
    return Expected(str(folder / f"{number:02}.png"), None if failure else content, failure)


def embed(rows: list[Expected], folder: Path, name: str, *arguments: str) -> tuple[pa.Table, dict[str, Any]]:
    """(the vectors in the manifest's order, the report)."""
    manifest = write_manifest(folder / "manifest.parquet", rows)
    ended = run(manifest, rows, f"{folder}/lake/{name}", *arguments)
    return held(f"{folder}/lake/{name}"), ended.json


def run(manifest: str, rows: list[Expected], table: str, *arguments: str) -> Ended:
    roots = f"fetch.allowed_roots=[{Path(rows[0].uri).parent}]"
    sizes = ("--set", f"cluster.block_rows={BLOCK}", "--set", f"cluster.batch_size={BLOCK}", "--set", roots)
    ended = pixlake_here("embed", manifest, table, *HERE, *sizes, "--json", *arguments)
    assert ended.code == 0, ended.err
    return ended


def held(table: str) -> pa.Table:
    return lance.dataset(f"{table}.lance").to_table().sort_by([("shard", "ascending"), ("row", "ascending")])


def test_every_row_has_what_it_would_have_without_and_each_is_counted(rows: list[Expected], tmp_path: Path) -> None:
    once, report = embed(rows, tmp_path, "once", *MODELS)
    each, plain = embed(rows, tmp_path, "each", *MODELS, "--set", "reuse=false")
    assert once.schema.equals(each.schema)
    assert once.drop_columns(["vector_a", "vector_vit"]).equals(each.drop_columns(["vector_a", "vector_vit"]))
    for column in ("vector_a", "vector_vit"):
        ours, theirs = (np.array(table[column].to_pylist(), np.float64) for table in (once, each))
        assert np.sum(ours * theirs, 1).min() >= 0.9999
    good = [number for number in range(ROWS) if number % DISTINCT != BROKEN]
    first = {number % DISTINCT: at for at, number in reversed(list(enumerate(good)))}
    for at, number in enumerate(good):
        assert once["vector_vit"][at] == once["vector_vit"][first[number % DISTINCT]]
    assert plain["reused"] == 0
    assert report["embedded_now"] == plain["embedded_now"] == len(good)
    assert report["failed_now"] == ROWS - len(good)
    # Three blocks are in work at a time, and may each embed an image for themselves.
    assert DISTINCT - 1 <= len(good) - report["reused"] <= 3 * (DISTINCT - 1)
    assert report["space_digests"] == plain["space_digests"]
    audit(f"{tmp_path}/lake/once", rows, columns=("vector_a",))


def test_copies_of_one_image_are_mostly_reused(rows: list[Expected], tmp_path: Path) -> None:
    copies = [row for number, row in enumerate(rows) if number % DISTINCT == 2]
    table, report = embed(copies, tmp_path, "t", "--model", "null")
    assert table.num_rows == len(copies)
    assert report["reused"] >= len(copies) / 2


def test_boxes_tell_copies_apart(rows: list[Expected], tmp_path: Path) -> None:
    """The same bytes with the same boxes are one image, with others another."""
    copies = [row for number, row in enumerate(rows) if number % DISTINCT == 1][:6]
    boxes = [[[0, 0, 9, 9]], [[0, 0, 9, 9]], [[1, 0, 9, 9], [0, 2, 6, 8]], [[0, 0, 9, 9]], [], []]
    manifest = pa.table({"uri": [row.uri for row in copies], "boxes": pa.array(boxes, pa.list_(pa.list_(pa.int64())))})
    pq.write_table(manifest, tmp_path / "m.parquet")
    options = ("--model", "null", "--set", BOXES, "--set", "source.keep=[boxes]")
    reports = {}
    for name, reuse in (("once", "true"), ("each", "false")):
        table = f"{tmp_path}/lake/{name}"
        reports[name] = run(str(tmp_path / "m.parquet"), copies, table, *options, "--set", f"reuse={reuse}").json
    once, each = held(f"{tmp_path}/lake/once"), held(f"{tmp_path}/lake/each")
    assert once.sort_by("region_id").equals(each.sort_by("region_id"))
    assert 1 <= reports["once"]["reused"] <= 3
    assert reports["each"]["reused"] == 0


def test_the_summary_says_how_many(rows: list[Expected], tmp_path: Path) -> None:
    manifest = write_manifest(tmp_path / "manifest.parquet", [rows[0], rows[6], rows[12]])
    roots = f"fetch.allowed_roots=[{Path(rows[0].uri).parent}]"
    ended = pixlake_here("embed", manifest, f"{tmp_path}/lake/t", *HERE, "--model", "null", "--set", roots)
    assert "same bytes: 2 images were given the vectors of an earlier one" in ended.out + ended.err
