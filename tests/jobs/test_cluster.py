"""`pixlake cluster` on tables of ready vectors: what it fills, what later runs fill, and what is refused."""

import json
import shutil
from pathlib import Path
from typing import Any

import lance
import lancedb
import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import load_file

from jobs import embed
from jobs.audit import AuditConfig
from jobs.audit import run as audit
from jobs.cluster import ClusteringConfig, run
from jobs.config.load import load_config
from jobs.describe import DescribeConfig, as_text
from jobs.describe import run as describe
from jobs.labelling import cluster_report
from made import spaced_table
from operators.base.errors import UserError
from pipelines.table.names import TableNames

LOCAL = {"executor": "local"}
GROUPS = 4


def vectors(rows: int, seed: int) -> np.ndarray:
    random = np.random.default_rng(seed)
    centres = np.linalg.qr(np.random.default_rng(9).normal(size=(12, 12)))[0][:GROUPS]
    found = centres[random.integers(0, GROUPS, rows)] + 0.1 * random.normal(size=(rows, 12))
    return (found / np.linalg.norm(found, axis=1, keepdims=True)).astype(np.float16)


def cluster(table: str, **options: Any) -> cluster_report.ClusterReport:
    return run(load_config(ClusteringConfig, base={"table": table, "cluster": LOCAL, **options}))


def rows(table: str) -> dict[str, Any]:
    return lance.dataset(TableNames.from_table(table).vectors).to_table().to_pydict()


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`lake/photos` taken in as a run does, 300 rows; `more`, a folder with 50 others."""
    folder = tmp_path_factory.mktemp("cluster")
    for name, first, count in (("first", 0, 300), ("more", 300, 50)):
        table = spaced_table.make(folder, vectors(count, seed=count), name=name, first=first)
        spaced_table.export(table, folder / f"{name}_out", format="npy")
    spaced_table.take_in(folder / "first_out", str(folder / "lake" / "photos"))
    return folder


@pytest.fixture
def folder(made: Path, tmp_path: Path) -> Path:
    shutil.copytree(made, tmp_path / "copy")
    return tmp_path / "copy"


def check(table: str, centres: np.ndarray) -> None:
    found = rows(table)
    cosines = np.array(found["vector"], np.float64) @ centres.T.astype(np.float64)
    assert found["cluster"] == cosines.argmax(1).tolist()
    np.testing.assert_allclose(found["cluster_cosine"], cosines.max(1), atol=2e-3)


def test_an_audit_finds_a_cluster_that_is_not_that_of_its_vector(folder: Path) -> None:
    table = str(folder / "lake" / "photos")
    cluster(table, k=GROUPS)
    asked: dict[str, Any] = {"table": table, "sample": 300}
    assert [each for each in audit(load_config(AuditConfig, base=asked)).faults if each.kind == "derived"] == []
    opened = lancedb.connect(str(folder / "lake")).open_table("photos")
    opened.update(where="row = 7", values_sql={"cluster": f"(cluster + 1) % {GROUPS}"})
    [fault] = [each for each in audit(load_config(AuditConfig, base=asked)).faults if each.kind == "derived"]
    assert (fault.where, fault.count) == ("cluster", 1)


def test_all_rows_get_their_cluster_and_later_runs_fill_it_too(folder: Path) -> None:
    table = str(folder / "lake" / "photos")
    report = cluster(table)
    assert (report.k, report.filled_now, report.rows, report.unassigned) == (GROUPS, 300, 300, 0)
    centres = load_file(report.artifact)["centres"]
    check(table, centres)
    assert report.clusters[0].representatives[0].cosine >= report.clusters[0].cohesion
    assert json.loads(Path(report.json_file).read_text()) == report.model_dump(mode="json")
    assert "chosen     4 by the largest mean silhouette" in cluster_report.as_text(report)

    again = cluster(table)
    assert (again.filled_now, again.version, again.artifact) == (0, report.version, report.artifact)

    assert spaced_table.take_in(folder / "more_out", table).status == "complete"
    assert len(rows(table)["id"]) == 350
    check(table, centres)
    # From the stored float16 as in the fill: the same bytes.
    more = cluster(table, outliers=0)
    assert (more.filled_now, more.rows, more.outliers) == (0, 350, [])
    described = describe(DescribeConfig(table=table))
    assert described.labelled["cluster"].artifact.sha256 == report.sha256
    assert "labelled   cluster, cluster_cosine: by 4 clusters of vector (kmeans-" in as_text(described)


def test_rows_that_another_tool_has_added_are_filled_by_the_same_command(folder: Path) -> None:
    table = str(folder / "lake" / "photos")
    report = cluster(table, k=3)
    dataset = lance.dataset(TableNames.from_table(table).vectors)
    lance.write_dataset(
        dataset.to_table(limit=20).drop_columns(["cluster", "cluster_cosine"]), dataset.uri, mode="append"
    )
    again = cluster(table, k=3)
    assert (again.filled_now, again.rows, again.tried) == (20, 320, [])
    check(table, load_file(report.artifact)["centres"])


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"k": 3}, "made with other settings than asked for.*there: k 2"),
        ({"k": 2, "seed": 1}, "choose another --name, or drop it with .*drop_columns"),
        ({"name": "other", "k": 301}, "--k 301: the sample has 300 rows"),
        ({"column": "nothing"}, "--column nothing is no vector column"),
    ],
)
def test_what_cannot_be_is_refused(two: str, options: dict[str, Any], words: str) -> None:
    with pytest.raises(UserError, match=words):
        cluster(two, **options)


@pytest.fixture(scope="module")
def two(made: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = shutil.copytree(made / "lake", tmp_path_factory.mktemp("two") / "lake")
    cluster(str(folder / "photos"), k=2)
    return str(folder / "photos")


def test_columns_of_which_one_was_dropped_are_refused(two: str, tmp_path: Path) -> None:
    table = str(shutil.copytree(Path(two).parent, tmp_path / "lake") / "photos")
    lance.dataset(f"{table}.lance").drop_columns(["cluster_cosine"])
    with pytest.raises(UserError, match="cluster_cosine is gone, and cluster is not; drop it with"):
        cluster(table, k=2)


@pytest.mark.parametrize("k", ["0", "-1", "many", "2.5"])
def test_a_number_of_clusters_is_one(k: str) -> None:
    with pytest.raises(UserError, match="a number of clusters from 1 on, or auto"):
        cluster("x/y", k=k)


def test_each_region_has_its_own_cluster_in_later_runs_too(tmp_path: Path) -> None:
    table = str(tmp_path / "lake" / "parts")
    for name, colours in (("one", ["red", "green"]), ("two", ["blue", "red"])):
        (tmp_path / name).mkdir()
        for number, colour in enumerate(colours):
            image = Image.new("RGB", (64, 64), colour)
            image.paste("white", (0, 0, 32, 64))
            image.save(tmp_path / name / f"{number}.png")
        options = {"regions": {"kind": "grid", "rows": 1, "columns": 2, "layout": "rows"}, "model": {"name": "null"}}
        base = {"source": {"uri": str(tmp_path / name)}, "table": table, "cluster": LOCAL, **options}
        assert embed.run(embed.load(base=base)).status == "complete"
        report = cluster(table, k=2)
        assert report.filled_now == (4 if name == "one" else 0), "two halves of each image"
    check(table, load_file(report.artifact)["centres"])
    assert len(rows(table)["cluster"]) == 8
    assert {row.id.rpartition("#")[2] for row in report.outliers} == {"0", "1"}


def test_vectors_of_several_regions_in_one_row_are_refused(tmp_path: Path) -> None:
    Image.new("RGB", (64, 64), "red").save(tmp_path / "a.png")
    table = str(tmp_path / "lake" / "parts")
    options = {"regions": {"kind": "grid", "rows": 2, "columns": 2, "layout": "multivector"}, "model": {"name": "null"}}
    base = {"source": {"uri": str(tmp_path / "a.png")}, "table": table, "cluster": LOCAL, **options}
    assert embed.run(embed.load(base=base)).status == "complete"
    with pytest.raises(UserError, match="holds the vectors of all regions of an image"):
        cluster(table, k=2)


def test_a_source_with_a_column_of_that_name_is_refused(two: str, tmp_path: Path) -> None:
    """What it holds would be taken for clusters."""
    table = str(shutil.copytree(Path(two).parent, tmp_path / "lake") / "photos")
    more = spaced_table.make(tmp_path, vectors(5, seed=1), name="more", first=900)
    lance.dataset(f"{more}.lance").add_columns({"cluster": "7"})
    spaced_table.export(more, tmp_path / "out", format="npy")
    with pytest.raises(UserError, match=r"cluster is by 2 clusters of vector .*the source has a column of that name"):
        spaced_table.take_in(tmp_path / "out", table, keep=["cluster"])
