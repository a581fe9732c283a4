"""`pixlake report`: what stands on the page, and what of hostile or foreign files does not."""

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import lance
import pyarrow as pa
import pytest

from end_to_end.command import pixlake_here
from jobs.config.load import load_config
from jobs.labelling.cluster_report import ClusteredRow, ClusterReport, ClusterResult
from jobs.looking.sections import SmallPictures, clusters_section, table_section
from jobs.report import ReportConfig, TableReport, as_text, run
from jobs.reports.page.blocks import PageTable, PageText
from made.table import COLOURS, Made, make
from operators.base.errors import UserError
from operators.storage.artifacts import ArtifactRef
from pipelines.space.labelling import Labelling
from pipelines.table.names import TableNames

HOSTILE = "<script>alert(1)</script>"


def report_of(made: Made, out: Path, **given: Any) -> TableReport:
    return run(load_config(ReportConfig, base={"table": made.table, "out": str(out), **given}))


@pytest.fixture(scope="module")
def looked_at(tmp_path_factory: pytest.TempPathFactory) -> tuple[Made, Path, TableReport]:
    """A table with clusters, duplicates and a file of another release beside it, and its page."""
    made = make(tmp_path_factory.mktemp("report"))
    names = TableNames.from_table(made.table)
    uris = {name: str(made.folder / f"{name}.png") for name in COLOURS}
    rows = [ClusteredRow(id=name, uri=uris[name], cluster=0, cosine=0.9) for name in ("red", "crimson")]
    result = ClusterResult(cluster=0, size=5, share=1.0, cohesion=0.8, least_cosine=0.1, representatives=rows)
    gone = ClusteredRow(id="gone", uri=str(made.folder / "gone.png"), cluster=0, cosine=0.1)
    clusters = ClusterReport(
        table=made.table,
        version=1,
        made_at="2026-11-30T00:00:00+00:00",
        column="vector",
        space_digest="d",
        name="cluster",
        cosine_name="cluster_cosine",
        k=1,
        tried=[],
        asked={},
        artifact="a",
        sha256="s",
        fitted_on=5,
        fitted_cosine=0.8,
        filled_now=5,
        without_vector=0,
        not_finite=0,
        no_direction=0,
        rows=5,
        unassigned=0,
        clusters=[result],
        outliers=[gone],
        seconds=1.0,
        json_file="f",
    )
    for folder, file, text in (
        ("cluster-20261130T000000000000Z", "clusters.json", clusters.model_dump_json()),
        ("evaluate-20261130T000000000000Z", "evaluation.json", json.dumps({"of": "another release"})),
    ):
        place = Path(names.runs) / folder
        place.mkdir(parents=True)
        (place / file).write_text(text)
    ids = ["green", "blue", HOSTILE, "red", "crimson"]
    groups = {
        "group": pa.array([0, 0, 0, 1, 1], pa.int64()),
        "id": pa.array(ids, pa.string()),
        "kept": pa.array([True, False, False, True, False]),
        "space_digest": pa.array(["of the model before"] * 5),
        "drop": pa.array([False, True, True, False, True]),
    }
    lance.write_dataset(pa.table(groups), names.duplicates)
    out = made.folder / "page.html"
    return made, out, report_of(made, out)


def part(out: Path, heading: str) -> str:
    """The part of the page under a heading."""
    found = re.search(rf"<h2[^>]*>{re.escape(heading)}</h2>(.*?)(<h2|</main>|</body>)", out.read_text(), re.DOTALL)
    assert found is not None, heading
    return found[1]


def test_counts_runs_and_failures_are_those_of_the_table(looked_at: tuple[Made, Path, TableReport]) -> None:
    made, out, report = looked_at
    assert f"{len(COLOURS)} images embedded by null, 2 failures, 0 rows missing" in out.read_text()
    assert made.report.run_id in part(out, "Runs")
    failed = part(out, "Failures")
    assert "not_found: 1 failure" in failed
    assert "missing.png" in failed
    assert "unsupported_format: 1 failure" in failed
    assert report.runs[0].run_id == made.report.run_id


def test_images_are_on_the_page_and_those_that_are_gone_are_counted(looked_at: tuple[Made, Path, TableReport]) -> None:
    _, out, report = looked_at
    assert part(out, "Images").count("data:image/jpeg") == len(COLOURS)
    assert report.no_picture == {"not_found": 1}
    assert "no picture: 1 not_found" in as_text(report)


def test_clusters_have_their_representatives_and_duplicates_the_one_that_stays_first(
    looked_at: tuple[Made, Path, TableReport],
) -> None:
    _, out, _ = looked_at
    clusters = part(out, "Clusters")
    assert "Cluster 0: 5 rows, 100.0%, cohesion 0.800" in clusters
    assert "No column of the table holds them now" in clusters
    assert clusters.count("data:image/jpeg") == 2
    duplicates = part(out, "Near-duplicates")
    assert "2 groups with 5 rows; 3 to drop" in duplicates
    assert "vectors that are no longer in the table" in duplicates
    assert duplicates.index("green") < duplicates.index("blue") < duplicates.index("crimson")


def test_clusters_are_those_of_the_column_that_holds_them_now(looked_at: tuple[Made, Path, TableReport]) -> None:
    _, _, report = looked_at
    assert report.clusters is not None
    made = Labelling(
        method="cluster",
        part="cluster",
        base="vector",
        space_digest="d",
        groups=1,
        artifact=ArtifactRef(uri="kmeans-s.safetensors", sha256="5" * 64),
    )
    named_then = report.clusters.model_copy(
        update={"name": "cluster_next", "column": "vector_next", "sha256": "5" * 64}
    )
    section = clusters_section(named_then, {"cluster": made}, SmallPictures())
    lead = section.blocks[0]
    assert isinstance(lead, PageText)
    assert "in the column cluster, of the vectors in vector." in lead.text
    assert "_next" not in lead.text


def test_what_another_release_has_left_is_named_and_what_is_lacking_has_its_command(
    looked_at: tuple[Made, Path, TableReport],
) -> None:
    made, out, report = looked_at
    assert [place.rpartition("/")[2] for place in report.unread] == ["evaluation.json"]
    lacking = part(out, "Not on this page")
    assert "evaluation.json" in lacking
    assert f"pixlake evaluate {made.table}" in lacking
    assert "pixlake cluster" not in lacking


def test_what_refreshes_have_brought_is_counted_beside_its_source(looked_at: tuple[Made, Path, TableReport]) -> None:
    described = looked_at[2].described
    [first] = described.manifests
    assert "refreshes" not in str(table_section(described))
    deltas = [replace(first, delta=True, rows=rows, vectors=2, failures=1, run_id=f"run{rows}") for rows in (4, 3)]
    update = {"manifests": [replace(first, vectors=3), *deltas], "marked_deleted": 1}
    blocks = table_section(described.model_copy(update=update)).blocks
    sources, brought = (block for block in blocks if isinstance(block, PageTable) and "source" in block.columns)
    assert [row[1] for row in sources.rows] == ["3"]
    assert [tuple(row[1:]) for row in brought.rows] == [("2", "7", "4", "2", "run3, complete")]
    said = next(block.text for block in blocks if isinstance(block, PageText) and "deleted" in block.text)
    assert "1 row of all are" not in said
    assert "marked as deleted" in said


def test_nothing_on_the_page_runs_or_asks(looked_at: tuple[Made, Path, TableReport]) -> None:
    page = looked_at[1].read_text()
    assert HOSTILE not in page
    assert "&lt;script&gt;alert(1)" in page
    assert re.findall(r'(?:src|href)="(?!data:|#)[^"]*"', page) == []


def test_drift_since_a_version_is_on_it_and_images_need_not_be(made: Made, tmp_path: Path) -> None:
    report = report_of(made, tmp_path / "page.html", drift_from="1", pictures=False)
    assert report.drift is not None
    assert report.pictures == 0
    assert "data:image/jpeg" not in (tmp_path / "page.html").read_text()
    assert "nothing" in part(tmp_path / "page.html", "Drift since 1").lower()


def test_the_command_prints_where_it_is_and_refuses_what_is_no_page(made: Made, tmp_path: Path) -> None:
    done = pixlake_here("report", made.table, "--out", str(tmp_path / "p.html"), "--no-pictures", "--json")
    assert TableReport.model_validate(done.json).out == str(tmp_path / "p.html")
    with pytest.raises(UserError, match=r"name a file that ends in \.html"):
        report_of(made, tmp_path / "page.pdf")
    with pytest.raises(UserError, match="last-week"):
        report_of(made, tmp_path / "page.html", drift_from="last-week")
