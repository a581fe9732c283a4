"""A table is brought to what its source is now: every image in the right state, every vector one made anew."""

import hashlib
import json
import os
import shutil
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import lance
import lancedb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from end_to_end.command import pixlake_here
from jobs.reports.evaluation import Evaluation
from jobs.reports.evaluation import as_text as evaluation_as_text
from made.refreshed import HERE, Lake, change_everything, picture, touch
from operators.base.errors import UserError
from pipelines.ledger.takedowns import record_takedowns, takedown_records
from pipelines.table.errors import RefusedError
from pipelines.table.table import Table


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    """Twelve images and a file that is none."""
    made = Lake(tmp_path)
    made.source.mkdir()
    for number in range(12):
        picture(made.source / f"{number:02}.png", number)
    (made.source / "bad.png").write_text("no image")
    assert pixlake_here("embed", str(made.source), made.table, *HERE).code == 0
    return made


def test_every_kind_of_change_at_once(lake: Lake) -> None:
    before = lake.rows()
    change_everything(lake.source)
    assert lake.counts("--max-deleted", "0.5") == {
        "unchanged": 6,
        "new": 1,
        "changed": 2,
        "touched": 1,
        "moved": 3,
        "deleted": 1,
        "retried": 1,
    }
    after = lake.rows()
    assert after["02.png"].pop("deleted_at") is not None
    assert after["02.png"] == before["02.png"]
    assert after["copied.png"]["vector"] == after["copied again.png"]["vector"] == before["04.png"]["vector"]
    assert after["renamed.png"]["etag"] == before["03.png"]["etag"]
    assert after["01.png"]["etag"] != before["01.png"]["etag"]
    assert lake.failures() == {"05.png": "unsupported_format"}
    lake.vectors_are_those_made_anew()


def test_nothing_changed_fetches_nothing_and_commits_nothing(lake: Lake) -> None:
    versions, runs = lake.versions(), sorted(os.listdir(lake.table + "__runs"))
    report = lake.refresh().json
    assert (report["counts"]["unchanged"], report["counts"]["failed"]) == (12, 1)
    assert (report["to_fetch"], report["commits"], report["run_id"]) == (0, 0, None)
    assert lake.versions() == versions
    assert sorted(os.listdir(lake.table + "__runs")) == runs
    change_everything(lake.source)
    lake.counts("--max-deleted", "0.5")
    versions = lake.versions()
    assert lake.counts() == {"unchanged": 13, "failed": 1, "gone": 1}
    assert lake.versions() == versions


def test_a_dry_run_says_what_would_be_done_and_does_nothing(lake: Lake) -> None:
    versions = lake.versions()
    change_everything(lake.source)
    report = lake.refresh("--dry-run", "--max-deleted", "0.5").json
    assert (report["dry_run"], report["to_fetch"]) == (True, 7)
    assert report["counts"]["changed"] == 3
    assert report["tag"] is None
    assert lake.versions() == versions


def test_the_report_has_the_versions_after_upkeep(lake: Lake) -> None:
    picture(lake.source / "new.png", 900)
    report = lake.refresh().json
    assert report["upkeep"]["vectors"]["rows"] > 0, "upkeep made a version"
    assert (report["versions"]["vectors"], report["versions"]["failures"]) == lake.versions()


def test_deleted_images_are_kept_marked_or_dropped_and_come_back(lake: Lake) -> None:
    data = (lake.source / "07.png").read_bytes()
    times = os.stat(lake.source / "07.png").st_mtime_ns
    (lake.source / "07.png").unlink()
    versions = lake.versions()
    assert lake.counts("--deleted", "keep")["deleted"] == 1
    assert lake.versions() == versions
    assert lake.counts()["deleted"] == 1
    assert lake.rows()["07.png"]["deleted_at"] is not None
    (lake.source / "07.png").write_bytes(data)
    os.utime(lake.source / "07.png", ns=(times, times))
    assert lake.counts()["returned"] == 1
    assert lake.rows()["07.png"]["deleted_at"] is None
    (lake.source / "07.png").unlink()
    assert lake.counts()["deleted"] == 1
    assert lake.counts("--deleted", "drop")["gone"] == 1
    assert "07.png" not in lake.rows()
    picture(lake.source / "07.png", 700)
    assert lake.counts()["new"] == 1
    lake.vectors_are_those_made_anew()


def test_searches_leave_out_what_is_gone_and_describe_counts_it(lake: Lake) -> None:
    ask = ("search", lake.table, "--image", str(lake.source / "03.png"), "-k", "20", "--json")
    assert len(pixlake_here(*ask).json["results"]) == 12
    kept = lake.folder / "kept.png"
    shutil.copy(lake.source / "03.png", kept)
    (lake.source / "03.png").unlink()
    lake.counts()
    ask = ("search", lake.table, "--image", str(kept), "--json")
    for k in ("1", "5", "20"):
        found = [Path(row["uri"]).name for row in pixlake_here(*ask, "-k", k).json["results"]]
        assert "03.png" not in found
        assert len(found) == min(int(k), 11)
    assert len(pixlake_here(*ask, "-k", "20", "--where", "uri LIKE '%0_.png'").json["results"]) == 9
    described = pixlake_here("describe", lake.table)
    assert "1 of these rows are marked as deleted" in described.out
    assert "refreshed" not in described.out, "nothing was fetched"


def test_exports_and_evaluations_leave_out_what_is_gone(lake: Lake, tmp_path: Path) -> None:
    for number in (3, 7):
        (lake.source / f"{number:02}.png").unlink()
    assert lake.counts("--max-deleted", "0.2")["deleted"] == 2
    live = {name for name, row in lake.rows().items() if row["deleted_at"] is None}
    assert len(live) == 10

    def exported(out: str, *more: str) -> set[str]:
        ended = pixlake_here("export", lake.table, str(tmp_path / out), "--json", *more)
        assert ended.code == 0, ended.err
        rows = pq.read_table(tmp_path / out)
        assert (ended.json["rows"], ended.json["marked_deleted"]) == (rows.num_rows, 1 if "--where" in more else 2)
        return {Path(uri).name for uri in rows["uri"].to_pylist()}

    assert exported("live") == live
    assert exported("one", "--where", "ends_with(uri, '01.png') OR ends_with(uri, '03.png')") == {"01.png"}
    assert exported("all", "--with-deleted") == set(lake.rows())
    told = pixlake_here("export", lake.table, str(tmp_path / "live")).out
    assert "2 rows that are marked as deleted: left out; --with-deleted exports such rows" in told
    evaluated = pixlake_here("evaluate", lake.table, "--json").json
    measured = evaluated["models"]
    assert evaluated["marked_deleted"] == 2
    assert "2 rows that are marked as deleted" in evaluation_as_text(Evaluation.model_validate(evaluated))
    assert [(model["rows"], model["queries"]) for model in measured] == [(10, 10)]
    assert all(recall == 1 for model in measured for way in model["ways"] for recall in way["recall"].values())


def test_too_much_gone_is_refused_and_nothing_is_changed(lake: Lake) -> None:
    versions = lake.versions()
    for number in range(3):
        (lake.source / f"{number:02}.png").unlink()
    ended = lake.refresh()
    assert ended.code == 2
    assert "3 of 12" in ended.err
    assert "--max-deleted" in ended.err
    assert lake.versions() == versions


def test_several_models_and_derived_columns_change_together(tmp_path: Path) -> None:
    lake = Lake(tmp_path)
    lake.source.mkdir()
    for number in range(8):
        picture(lake.source / f"{number:02}.png", number)
    models = ("--model", "one=null", "--model", "two=null")
    embedded = pixlake_here("embed", str(lake.source), lake.table, *models, *HERE[2:])
    assert embedded.code == 0, embedded.err
    reduced = pixlake_here("reduce", lake.table, "small", "--quantize", "int8", "--base", "vector_one")
    assert reduced.code == 0, reduced.err
    assert pixlake_here("fit-pca", lake.table, "--dim", "4", "--column", "vector_two").code == 0
    assert pixlake_here("reduce", lake.table, "short", "--pca", "latest", "--base", "vector_two").code == 0
    lancedb.connect(lake.folder / "lake").open_table("t").add_columns({"theirs": "length(id)"})
    columns = ["vector_one", "vector_two", "small", "short"]
    before = lake.rows([*columns, "theirs"])
    touch(lake.source / "01.png")
    (lake.source / "02.png").rename(lake.source / "moved.png")
    shutil.copy(lake.source / "03.png", lake.folder / "third.png")
    picture(lake.source / "03.png", 4)
    shutil.copy(lake.source / "04.png", lake.source / "05.png")
    assert lake.counts() == {"unchanged": 4, "changed": 2, "touched": 1, "moved": 1}
    after = lake.rows([*columns, "theirs"])
    for name, was in (("01.png", "01.png"), ("moved.png", "02.png"), ("03.png", "04.png"), ("05.png", "04.png")):
        for column in columns:
            assert after[name][column] == before[was][column], (name, column)
    assert after["01.png"]["theirs"] == before["01.png"]["theirs"] == 32
    assert after["03.png"]["theirs"] is None, "a user's own column is not ours to fill"


@pytest.mark.parametrize("layout", ["rows", "multivector"])
def test_all_regions_of_an_image_change_together(tmp_path: Path, layout: str) -> None:
    lake = Lake(tmp_path)
    lake.source.mkdir()
    for number in range(5):
        picture(lake.source / f"{number:02}.png", number)
    regions = ("--set", f"regions={{kind: grid, rows: 2, columns: 2, layout: {layout}}}")
    assert pixlake_here("embed", str(lake.source), lake.table, *HERE, *regions).code == 0
    picture(lake.source / "00.png", 90)
    touch(lake.source / "01.png")
    (lake.source / "02.png").rename(lake.source / "moved.png")
    (lake.source / "03.png").unlink()
    counts = lake.counts("--max-deleted", "0.5")
    assert counts == {"unchanged": 1, "changed": 1, "touched": 1, "moved": 1, "deleted": 1}
    anew = Lake(tmp_path / "anew")
    assert pixlake_here("embed", str(lake.source), anew.table, *HERE, *regions).code == 0
    assert regions_of(lake, "deleted_at IS NULL") == regions_of(anew, "true")
    assert len(regions_of(lake, "deleted_at IS NOT NULL")) == (4 if layout == "rows" else 1)


def regions_of(lake: Lake, where: str) -> list[str]:
    """All that decides, as texts."""
    table = lance.dataset(lake.table + ".lance").to_table(filter=where)
    deciding = ("id", "uri", "region_id", "region", "regions", "vector", "etag", "sha256")
    rows = table.select([name for name in deciding if name in table.column_names]).to_pylist()
    return sorted(map(json.dumps, rows))


class Manifest(Lake):
    """A Parquet manifest with ids, labels and versions."""

    def write(self, rows: dict[str, tuple[str | None, str, str]]) -> None:
        """Id -> (file, label, version); no file for a row that is none."""
        values = [list(rows), *map(list, zip(*rows.values(), strict=True))]
        columns = [pa.array(each, pa.string()) for each in values]
        pq.write_table(pa.table(columns, names=["key", "uri", "label", "version"]), self.manifest)

    @property
    def manifest(self) -> Path:
        return self.source / "images.parquet"


@pytest.fixture
def listed(tmp_path: Path) -> Manifest:
    made = Manifest(tmp_path)
    made.source.mkdir()
    for number in range(6):
        picture(made.source / f"{number}.png", number)
    made.write({f"k{n}": (f"{n}.png", f"l{n}", "1") for n in range(6)})
    settings = ("source.id_column=key", "source.keep=[label,version]", "source.version_columns=[version]")
    given = [part for setting in settings for part in ("--set", setting)]
    embedded = pixlake_here("embed", str(made.manifest), made.table, *HERE, *given)
    assert embedded.code == 0, embedded.err
    return made


def test_a_manifest_says_versions_in_columns_and_other_values_are_carried(listed: Manifest) -> None:
    picture(listed.source / "1.png", 50)
    rows = {f"k{n}": (f"{n}.png", f"l{n}", "1") for n in range(6)}
    rows["k1"] = ("1.png", "l1", "2")
    rows["k2"] = ("2.png", "another", "1")
    rows["k3"] = ("3.png", "l3", "2")
    picture(listed.source / "6.png", 6)
    rows["k6"] = ("6.png", "l6", "1")
    del rows["k0"]
    listed.write(rows)
    before = listed.rows()
    assert listed.counts("--max-deleted", "0.5") == {"unchanged": 2, "new": 1, "changed": 1, "touched": 2, "deleted": 1}
    after = listed.rows()
    assert {row["id"]: (row["label"], row["version"]) for row in after.values() if row["deleted_at"] is None} == {
        key: row[1:] for key, row in rows.items()
    }
    assert after["2.png"]["vector"] == before["2.png"]["vector"]
    assert after["1.png"]["vector"] != before["1.png"]["vector"]
    assert listed.counts() == {"unchanged": 6, "gone": 1}


def test_values_that_come_in_another_type_are_compared_and_written_in_the_tables(lake: Lake) -> None:
    """Whole numbers, of which one is missing, are float64 in a file that pandas writes."""
    manifest = lake.source / "images.parquet"

    def write(grades: list[float | None], kind: pa.DataType, version: pa.DataType) -> None:
        names = [f"{number:02}.png" for number in range(len(grades))]
        columns = {"uri": names, "grade": pa.array(grades, kind), "version": pa.array([1] * len(names), version)}
        pq.write_table(pa.table(columns), manifest)

    def grades() -> list[int | None]:
        return [row["grade"] for _, row in sorted(lake.rows(["grade"]).items())]

    shutil.rmtree(Path(lake.table).parent)
    write([1, 2, 3], pa.int64(), pa.int64())
    settings = ("source.keep=[grade,version]", "source.version_columns=[version]")
    given = [part for setting in settings for part in ("--set", setting)]
    assert pixlake_here("embed", str(manifest), lake.table, *HERE, *given).code == 0
    write([1, None, 9, 4], pa.float64(), pa.float64())
    assert lake.counts() == {"unchanged": 1, "touched": 2, "new": 1}
    assert grades() == [1, None, 9, 4]
    write([1, None, 9, 4.5], pa.float64(), pa.int64())
    ended = lake.refresh()
    assert ended.code == 2
    assert "grade is int64 in the table, and double in the source now: " in ended.err
    assert grades() == [1, None, 9, 4]


def test_an_image_out_of_reach_keeps_its_vectors_beside_a_failure_until_it_can_be_read(listed: Manifest) -> None:
    before = listed.rows()["1.png"]
    (listed.source / "1.png").unlink()
    listed.write({f"k{n}": (f"{n}.png", f"l{n}", "2" if n == 1 else "1") for n in range(6)})
    for _ in range(2):
        assert listed.counts() in ({"unchanged": 5, "changed": 1}, {"unchanged": 5, "changed": 1, "stale": 1})
        assert listed.rows()["1.png"] == before
        assert listed.failures() == {"1.png": "not_found"}
    picture(listed.source / "1.png", 51)
    assert listed.counts()["changed"] == 1
    assert listed.failures() == {}
    assert listed.rows()["1.png"]["version"] == "2"
    assert listed.counts() == {"unchanged": 6}


def test_a_row_that_is_none_any_more_keeps_its_vectors_and_is_told_once(listed: Manifest) -> None:
    before = listed.rows()["1.png"]
    listed.write({f"k{n}": (None if n == 1 else f"{n}.png", f"l{n}", "1") for n in range(6)})
    assert listed.counts() == {"unchanged": 5, "changed": 1}
    there = listed.versions()
    for _ in range(2):
        assert listed.counts() == {"unchanged": 5, "failed": 1}
        assert listed.versions() == there
    assert listed.rows()["1.png"] == before
    listed.write({f"k{n}": (f"{n}.png", f"l{n}", "1") for n in range(6)})
    assert listed.counts() == {"unchanged": 6, "stale": 1}
    assert listed.counts() == {"unchanged": 6}


def test_another_place_of_the_source_is_named_once(lake: Lake) -> None:
    """Ids are made of URIs here, so all images have moved; nothing is fetched."""
    lake.source.rename(lake.folder / "elsewhere")
    assert lake.refresh().code == 2
    assert lake.counts("--source", str(lake.folder / "elsewhere")) == {"moved": 12, "deleted": 1, "new": 1}
    assert lake.counts() == {"unchanged": 12, "failed": 1}
    assert {os.path.dirname(row["uri"]) for row in lake.rows().values()} == {str(lake.folder / "elsewhere")}


def test_an_embed_of_a_refreshed_source_puts_nothing_in_twice_and_misses_nothing(lake: Lake) -> None:
    first = {path.name: path.read_bytes() for path in lake.source.iterdir()}
    times = {path.name: os.stat(path).st_mtime_ns for path in lake.source.iterdir()}
    change_everything(lake.source)
    lake.counts("--max-deleted", "0.5")
    rows = lake.rows()
    embedded = pixlake_here("embed", str(lake.source), lake.table, *HERE)
    assert embedded.code == 2
    assert "`pixlake refresh" in embedded.err
    picture(lake.source / "later.png", 103)
    assert pixlake_here("embed", str(lake.source), lake.table, *HERE, "--skip-existing").code == 0
    assert lake.rows().keys() == rows.keys() | {"later.png"}
    assert lake.counts()["unchanged"] == 14
    # The source is taken back to its first state, which the table knows as a complete manifest.
    for path in lake.source.iterdir():
        path.unlink()
    for name, data in first.items():
        (lake.source / name).write_bytes(data)
        os.utime(lake.source / name, ns=(times[name], times[name]))
    back = pixlake_here("embed", str(lake.source), lake.table, *HERE, "--json")
    assert back.code == 0, back.err
    assert (back.json["embedded_now"], back.json["deleted"], back.json["notices"]) == (0, 0, [])
    assert "deleted" not in back.err
    lake.counts("--max-deleted", "1")
    lake.vectors_are_those_made_anew()


def test_a_table_of_several_sources_is_asked_which_and_leaves_the_others(lake: Lake) -> None:
    other = lake.folder / "other"
    other.mkdir()
    picture(other / "o.png", 60)
    assert pixlake_here("embed", str(other), lake.table, *HERE).code == 0
    ended = lake.refresh()
    assert ended.code == 2
    assert "--source" in ended.err
    picture(lake.source / "00.png", 61)
    (other / "o.png").unlink()
    assert lake.counts("--source", str(lake.source)) == {"unchanged": 11, "changed": 1, "failed": 1}
    assert "o.png" in lake.rows()


def test_an_unfinished_embed_of_the_source_is_finished_first(lake: Lake) -> None:
    dataset = lance.dataset(lake.table + ".lance")
    [key] = [key for key in dataset.metadata if key.startswith("pixlake.manifest.")]
    for end in (".lance", "__failures.lance"):
        found = lance.dataset(lake.table + end)
        entry = json.loads(found.metadata[key])
        found.update_metadata({key: json.dumps(entry | {"status": "running", "digest": entry["digest"]})})
    picture(lake.source / "00.png", 62)
    ended = lake.refresh()
    assert ended.code == 2
    assert "is not finished" in ended.err


@pytest.fixture
def interfering(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[], None], int], None]:
    """Runs something right before the n-th commit of a refresh."""
    real = lance.LanceDataset.commit

    def before(do: Callable[[], None], at: int = 0) -> None:
        calls: list[int] = []

        def commit(*args: Any, **kwargs: Any) -> Any:
            calls.append(1)
            if len(calls) == at + 1:
                monkeypatch.setattr(lance.LanceDataset, "commit", staticmethod(real))
                do()
            return real(*args, **kwargs)

        monkeypatch.setattr(lance.LanceDataset, "commit", staticmethod(commit))

    return before


THEIRS = {
    "delete": lambda table: table.delete("uri LIKE '%/08.png'"),
    "optimize": lambda table: table.optimize(),
    "update": lambda table: table.update(where="uri LIKE '%/01.png'", values={"format": "theirs"}),
    "add a column": lambda table: table.add_columns({"theirs": "length(id)"}),
    "restore": lambda table: (table.delete("uri LIKE '%/08.png'"), table.checkout(table.version - 1), table.restore()),
}


@pytest.mark.parametrize("what", THEIRS)
@pytest.mark.parametrize("at", range(0, 14, 2))
def test_whatever_another_tool_does_in_mid_refresh_the_next_one_is_true(
    lake: Lake, interfering: Any, what: str, at: int
) -> None:
    change_everything(lake.source)
    done: list[bool] = []

    def meddle() -> None:
        THEIRS[what](lancedb.connect(lake.folder / "lake").open_table("t"))
        done.append(True)

    interfering(meddle, at)
    ended = lake.refresh("--max-deleted", "0.5")
    assert ended.code in (0, 1), ended.err
    assert done, "a refresh has fewer commits"
    lake.counts("--max-deleted", "0.5")
    lake.vectors_are_those_made_anew()


def test_what_cannot_be_known_is_said(lake: Lake, tmp_path: Path) -> None:
    assert pixlake_here("refresh", str(tmp_path / "none")).code == 2
    shutil.rmtree(lake.table + "__runs")
    ended = lake.refresh()
    assert ended.code == 2
    assert "configurations of its runs are gone" in ended.err
    assert issubclass(RefusedError, UserError)


class EtagServer:
    """Serves files by etags, and notes how it answered."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.answers: list[tuple[str, int]] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                name = self.path.strip("/")
                data = outer.files[name]
                etag = f'"{hashlib.md5(data, usedforsecurity=False).hexdigest()}"'
                known = self.headers.get("If-None-Match") == etag
                outer.answers.append((name, 304 if known else 200))
                self.send_response(304 if known else 200)
                self.send_header("ETag", etag)
                self.send_header("Content-Length", "0" if known else str(len(data)))
                self.end_headers()
                if not known:
                    self.wfile.write(data)

            def log_message(self, *_: Any) -> None:
                pass

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self._http.serve_forever, args=(0.05,), daemon=True).start()

    def uri(self, name: str) -> str:
        return f"http://127.0.0.1:{self._http.server_port}/{name}"

    def close(self) -> None:
        self._http.shutdown()
        self._http.server_close()


@pytest.fixture
def etags() -> Iterator[EtagServer]:
    server = EtagServer()
    yield server
    server.close()


def test_servers_are_asked_by_etags_on_request(tmp_path: Path, etags: EtagServer) -> None:
    lake, made = Lake(tmp_path), tmp_path / "made.png"
    lake.source.mkdir()
    for number in range(5):
        picture(made, number)
        etags.files[f"{number}.png"] = made.read_bytes()
    manifest = lake.source / "images.csv"
    manifest.write_text("\n".join(["uri", *map(etags.uri, etags.files)]))
    assert (
        pixlake_here("embed", str(manifest), lake.table, *HERE, "--set", "fetch.allowed_cidrs=[127.0.0.0/8]").code == 0
    )
    etags.answers.clear()
    assert lake.counts() == {"unchanged": 5}
    assert etags.answers == []
    picture(made, 70)
    etags.files["2.png"] = made.read_bytes()
    assert lake.counts("--check-http") == {"unchanged": 4, "changed": 1}
    assert sorted(etags.answers) == [(f"{n}.png", 200 if n == 2 else 304) for n in range(5)]
    etags.answers.clear()
    assert lake.counts("--check-http") == {"unchanged": 5}
    assert {status for _, status in etags.answers} == {304}
    assert lake.rows()["2.png"]["sha256"] == hashlib.sha256(etags.files["2.png"]).hexdigest()


def test_rows_that_a_restore_has_brought_back_are_named_and_left_alone(lake: Lake) -> None:
    plain, before = lancedb.connect(lake.folder / "lake").open_table("t"), lake.rows()
    version = plain.version
    for name in ("03.png", "04.png"):
        assert pixlake_here("delete", lake.table, "--id", before[name]["id"]).code == 0
    plain.checkout(version)
    plain.restore()
    picture(lake.source / "03.png", 77)
    for _ in range(2):
        ended = lake.refresh()
        assert ended.json["run_id"] is None, ended.out
        assert ended.json["counts"]["taken_down"] == 2
        assert any("2 ids that were taken down have rows again" in each for each in ended.json["notices"])
        assert lake.rows()["03.png"]["vector"] == before["03.png"]["vector"]


def test_a_delete_that_was_killed_is_finished_where_nothing_else_has_changed(lake: Lake) -> None:
    gone = lake.rows()["03.png"]["id"]
    record_takedowns(Table.of(lake.table), takedown_records([gone]))
    ended = lake.refresh()
    assert ended.json["run_id"]
    assert "03.png" not in lake.rows()
    assert ended.json["notices"] == []
    assert lake.refresh().json["run_id"] is None
