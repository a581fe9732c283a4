"""Runs whose table gets another schema while they are on: real images, the null model, plain lancedb beside them."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import lance
import lancedb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from jobs import reduce
from jobs.config.load import load_config
from jobs.embed import load
from jobs.embedding.prepare import prepare
from jobs.embedding.progress import RunProgress
from jobs.embedding.run import EmbedRun
from jobs.reports.run_report import Report
from jobs.session.interrupts import Interrupts
from pipelines.commits.receipts import Receipt
from pipelines.table.errors import RefusedError

IMAGES, FIRST, A_FRAGMENT = 40, 16, 6
TABLE = "lake/photos"
Change = Callable[[Path], object]


class Meddler(RunProgress):
    """Another tool: it changes the table when the first fragment is written and not yet committed."""

    def __init__(self, folder: Path, change: Change | None) -> None:
        super().__init__()
        self.folder, self.change = folder, change

    def receipt(self, receipt: Receipt) -> None:
        super().receipt(receipt)
        if self.change:
            change, self.change = self.change, None
            change(self.folder)


def embed(folder: Path, change: Change | None = None, *, limit: int | None = None, **options: Any) -> Report:
    """Image 5 is broken, and row 30 has no label."""
    manifest = folder / "manifest.parquet"
    if not manifest.exists():
        for n in range(IMAGES):
            pixels = np.random.default_rng(n).integers(0, 256, (6, 6, 3), np.uint8)
            Image.fromarray(pixels).resize((48, 48), Image.Resampling.BICUBIC).save(folder / f"{n}.png")
        (folder / "5.png").write_bytes(b"broken")
        labels = [None if n == 30 else f"l{n}" for n in range(IMAGES)]
        columns = {"id": [f"i{n}" for n in range(IMAGES)], "uri": [f"{n}.png" for n in range(IMAGES)], "label": labels}
        pq.write_table(pa.table(columns), manifest)
    cluster = {"executor": "local", "block_rows": A_FRAGMENT, "rows_per_fragment": A_FRAGMENT}
    base = {
        "source": {"uri": str(manifest), "id_column": "id", "keep": ["label"], "limit": limit},
        "table": f"{folder}/{TABLE}",
        "model": {"name": "null"},
        "cluster": {**cluster, "commit_interval_s": 0.001, "retries": 0},
        "decode": {"isolate": False},
        **options,
    }
    config = load(base=base)
    with Interrupts() as interrupts, Meddler(folder, change) as progress:
        prepared = prepare(config, config.source, f"{folder}/work")
        return EmbedRun(prepared, prepared.settle().choice, "run", interrupts, progress).go()


def plain(folder: Path) -> Any:
    return lancedb.connect(f"{folder}/lake").open_table("photos")


def make_binary(folder: Path, **options: Any) -> reduce.ReduceReport:
    base = {"table": f"{folder}/{TABLE}", "column": "codes", "cluster": {"executor": "local"}, "quantize": "int8"}
    return reduce.run(load_config(reduce.ReduceConfig, base={**base, **options}))


def rows(folder: Path, *columns: str) -> dict[int, Any]:
    """Row of the manifest -> values; every row once."""
    found = lance.dataset(f"{folder}/{TABLE}.lance").to_table(columns=["row", *columns]).to_pylist()
    assert len({each["row"] for each in found}) == len(found)
    return {each.pop("row"): each for each in found}


def test_a_label_of_another_type_is_written_as_that_type_in_the_same_run(tmp_path: Path) -> None:
    embed(tmp_path, limit=FIRST)
    report = embed(tmp_path, lambda f: plain(f).alter_columns({"path": "label", "data_type": pa.large_string()}))
    assert (report.status, report.vectors) == ("complete", IMAGES - 1)
    assert rows(tmp_path, "label") == {n: {"label": None if n == 30 else f"l{n}"} for n in range(IMAGES) if n != 5}, (
        "what was staged for the old field would be null"
    )


def test_retries_of_failures_are_written_again_too(tmp_path: Path) -> None:
    embed(tmp_path)
    Image.new("RGB", (48, 48), (1, 2, 3)).save(tmp_path / "5.png")

    def anew(folder: Path) -> None:
        plain(folder).drop_columns(["label"])
        plain(folder).add_columns(pa.schema([pa.field("label", pa.string())]))

    report = embed(tmp_path, anew, retry_failed="all")
    assert (report.status, report.failures) == ("complete", 0)
    assert rows(tmp_path, "label")[5] == {"label": "l5"}


@pytest.mark.parametrize("limit", [FIRST, None], ids=["of which a part was embedded", "that is new"])
def test_a_column_that_takes_no_nulls_ends_the_run_with_the_line_that_cures(tmp_path: Path, limit: int | None) -> None:
    if limit:
        embed(tmp_path, limit=limit)
    before = len(rows(tmp_path)) if limit else 0
    report = embed(tmp_path, lambda f: plain(f).add_columns({"reviewed": "cast(0 as int)"}))
    assert report.status == "failed"
    assert "reviewed: in the table, not in this run, and not nullable" in report.message
    assert '"path": "reviewed", "nullable": True' in report.message
    assert "run the same command again" not in report.message
    assert len(rows(tmp_path, "reviewed")) == before
    with pytest.raises(RefusedError, match="reviewed: in the table"):
        embed(tmp_path)
    plain(tmp_path).alter_columns({"path": "reviewed", "nullable": True})
    assert embed(tmp_path).status == "complete"
    assert len(rows(tmp_path, "reviewed")) == IMAGES - 1


def test_a_label_that_was_made_not_null_ends_the_run_at_its_first_null(tmp_path: Path) -> None:
    embed(tmp_path, limit=FIRST)
    report = embed(tmp_path, lambda f: plain(f).alter_columns({"path": "label", "nullable": False}))
    assert report.status == "failed"
    assert "label takes no nulls there, and it is null in rows of this source, i30 the first" in report.message
    assert "run the same command again" not in report.message
    published = set(rows(tmp_path, "label"))
    assert set(range(FIRST)) - {5} < published < set(range(30)), "fragments before it are published"


def test_codes_of_a_quantizer_that_was_replaced_are_never_published(tmp_path: Path) -> None:
    embed(tmp_path, limit=FIRST)
    make_binary(tmp_path)

    def reduced_anew(folder: Path) -> None:
        plain(folder).drop_columns(["codes"])
        make_binary(folder, quantize="binary")

    report = embed(tmp_path, reduced_anew)
    assert report.status == "complete"
    assert "codes was dropped or made anew while this run was on" in report.message
    there = rows(tmp_path, "codes")
    assert {n for n, row in there.items() if row["codes"] is None} == set(range(FIRST, IMAGES))
    assert make_binary(tmp_path, quantize="binary").rows == IMAGES - FIRST
    as_made_at_once = rows(tmp_path, "codes")
    plain(tmp_path).drop_columns(["codes"])
    quantizer = str(next(Path(f"{tmp_path}/lake/photos__artifacts").glob("binary*")))
    make_binary(tmp_path, quantize="binary", quantizer=quantizer)
    assert as_made_at_once == rows(tmp_path, "codes")


def test_a_run_goes_on_without_a_derived_column_that_was_dropped(tmp_path: Path) -> None:
    embed(tmp_path, limit=FIRST)
    make_binary(tmp_path)
    report = embed(tmp_path, lambda f: plain(f).drop_columns(["codes"]))
    assert (report.status, report.vectors) == ("complete", IMAGES - 1)
    assert "codes" not in lance.dataset(f"{tmp_path}/{TABLE}.lance").schema.names


def test_regions_that_were_staged_for_an_old_label_are_written_again_whole(tmp_path: Path) -> None:
    regions = {"regions": {"kind": "grid", "rows": 2, "columns": 2}}
    embed(tmp_path, limit=FIRST, **regions)
    change = {"path": "label", "data_type": pa.large_string()}
    report = embed(tmp_path, lambda f: plain(f).alter_columns(change), **regions)
    assert report.status == "complete"
    found = lance.dataset(f"{tmp_path}/{TABLE}.lance").to_table(columns=["region_id", "row", "label"]).to_pylist()
    assert len({each["region_id"] for each in found}) == len(found)
    assert len(found) % (IMAGES - 1) == 0
    assert {(each["row"], each["label"]) for each in found} == {
        (n, None if n == 30 else f"l{n}") for n in range(IMAGES) if n != 5
    }
