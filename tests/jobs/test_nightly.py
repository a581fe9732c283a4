"""Nights over a folder of photographs: resumed, left, waited for, refused; what each command says and leaves."""

import contextlib
import hashlib
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import lance
import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from end_to_end.command import Ended, end, pixlake_here, start
from jobs.nights.lease import Lease
from jobs.nights.report import read_report
from made.cut_photographs import photograph
from operators.storage.stores import NO_OPTIONS
from pipelines.table.table import Table

COUNT = 12


class Place:
    """A folder of photographs, the table beside it, and the night's file."""

    def __init__(self, folder: Path) -> None:
        self.photos, self.table, self.file = folder / "photos", f"{folder}/lake/photos", folder / "night.yaml"
        self.photos.mkdir()
        for number in range(COUNT):
            self.add(number)
        self.write()

    def add(self, number: int) -> None:
        (self.photos / f"{number}.jpg").write_bytes(photograph(number))

    def write(self, **more: Any) -> None:
        values = {
            "source": {"uri": str(self.photos)},
            "table": self.table,
            "model": {"name": "null"},
            "cluster": {"executor": "local"},
            "decode": {"isolate": False},
            "retries": {"attempts": 1},
        }
        self.file.write_text(yaml.safe_dump(values | more))

    def nightly(self, *arguments: str) -> Ended:
        return pixlake_here("nightly", str(self.file), *arguments)

    def night(self, date: str, *arguments: str) -> dict[str, Any]:
        """The report of a night that ends complete."""
        ended = self.nightly("--night", date, "--json", *arguments)
        assert ended.code == 0, ended.out + ended.err
        return ended.json

    @property
    def begun(self) -> bool:
        """Whether the table is there, and its source is not all in it."""
        if not Path(f"{self.table}.lance/_versions").exists():
            return False
        with contextlib.suppress(ValueError):
            metadata = lance.dataset(f"{self.table}.lance").metadata
            return any('"status": "running"' in value for value in metadata.values())
        return False

    @property
    def versions(self) -> list[int]:
        return [lance.dataset(f"{self.table}{end}.lance").version for end in ("", "__failures")]

    @property
    def tags(self) -> dict[str, int]:
        return {name: tag["version"] for name, tag in lance.dataset(f"{self.table}.lance").tags.list().items()}

    @property
    def lease(self) -> Lease:
        return Lease(f"{self.table}__runs/lease", NO_OPTIONS)


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def statuses(report: dict[str, Any]) -> dict[str, str]:
    return {step["name"]: step["status"] + (" before" if step["earlier"] else "") for step in report["steps"]}


def test_the_first_night_makes_the_table_and_the_next_follows_the_source(place: Place) -> None:
    first = place.night("2026-11-20")
    assert statuses(first) == {
        "embed": "done",
        "refresh": "not_needed",
        "upkeep": "done",
        "tag": "done",
        "gates": "done",
        "drift": "not_needed",
    }
    assert first["rows"] == {"new": COUNT, "failed_now": 0}
    assert first["live_models"] == {"vector": "null"}
    place.add(50)
    (place.photos / "3.jpg").write_bytes(photograph(51))
    second = place.night("2026-11-21")
    assert statuses(second)["embed"] == "not_needed"
    assert {name: count for name, count in second["rows"].items() if count} == {
        "unchanged": COUNT - 1,
        "new": 1,
        "changed": 1,
    }
    assert sorted(place.tags) == ["2026-11-20", "2026-11-21"]
    assert second["current_as_of"] > first["ended_at"]


def test_a_night_that_is_complete_does_nothing_unless_the_source_has_changed(place: Place) -> None:
    place.night("2026-11-20")
    place.add(50)
    before = place.night("2026-11-21")
    versions, tags = place.versions, place.tags
    again = place.night("2026-11-21")
    assert again["nothing_to_do"]
    assert (again["rows"], again["commands"]) == (before["rows"], 2)
    assert set(statuses(again).values()) == {"done before", "not_needed before"}
    assert (place.versions, place.tags) == (versions, tags)
    place.add(60)
    changed = place.night("2026-11-21")
    assert not changed["nothing_to_do"]
    assert statuses(changed)["tag"] == "done"
    assert (changed["rows"]["new"], changed["commands"]) == (1, 3)
    assert place.tags["2026-11-21"] == place.versions[0] > versions[0]


def test_a_source_and_a_table_that_lie_beside_the_caller_are_found_again(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(place.photos.parent)
    place.write(source={"uri": "photos"}, table="lake/photos")
    place.night("2026-11-20")
    place.add(50)
    assert place.night("2026-11-21")["rows"]["new"] == 1


def test_a_source_that_moved_as_a_whole_is_not_embedded_beside_itself(place: Place) -> None:
    place.night("2026-11-20")
    place.write(source={"uri": str(place.photos.rename(place.photos.with_name("elsewhere")))})
    moved = place.night("2026-11-21")
    assert (statuses(moved)["embed"], moved["rows"]["moved"]) == ("not_needed", COUNT)
    assert lance.dataset(f"{place.table}.lance").count_rows() == COUNT


def test_a_step_that_fails_ends_the_night_and_is_taken_again(place: Place) -> None:
    place.night("2026-11-20")
    hidden = place.photos.with_name("elsewhere")
    place.photos.rename(hidden)
    ended = place.nightly("--night", "2026-11-21", "--json")
    assert (ended.code, ended.json["status"], ended.json["exit_status"]) == (1, "failed", 1)
    assert list(statuses(ended.json)) == ["embed", "refresh"]
    assert "photos" in ended.json["steps"][-1]["message"]
    assert ended.json["last_success_at"] is not None
    assert "2026-11-21" not in place.tags
    hidden.rename(place.photos)
    assert statuses(place.night("2026-11-21"))["refresh"] == "done"


def test_a_gate_that_is_not_passed_ends_in_3_and_is_measured_again_alone(place: Place) -> None:
    place.night("2026-11-20")
    few = ("--type", "IVF_FLAT", "--num-partitions", "4", "--nprobes", "1", "--target-recall", "0.1")
    assert pixlake_here("index", place.table, *few, "--set", "cluster.executor=local").code == 0
    place.add(50)
    place.write(gates={"min_index_recall": 1})
    ended = place.nightly("--night", "2026-11-21", "--json")
    assert (ended.code, ended.json["status"], ended.json["exit_status"]) == (3, "exceeded", 3), ended.err
    assert statuses(ended.json)["gates"] == "exceeded"
    assert "index_recall.vector" in next(step["message"] for step in ended.json["steps"] if step["name"] == "gates")
    assert ended.json["last_success_at"] < ended.json["started_at"]
    versions = place.versions
    place.write(gates={"min_index_recall": 0.1})
    resumed = place.night("2026-11-21")
    assert statuses(resumed) == {
        "embed": "not_needed before",
        "refresh": "done before",
        "upkeep": "done before",
        "tag": "done before",
        "gates": "done",
        "drift": "done before",
    }
    assert (resumed["rows"]["new"], resumed["nothing_to_do"], place.versions) == (1, False, versions)


def test_a_second_one_leaves(place: Place) -> None:
    place.night("2026-11-20")
    place.add(50)
    metrics = place.photos.with_name("night.prom")
    versions = place.versions
    with place.lease as lease:
        assert lease.take()
        ended = place.nightly("--night", "2026-11-21", "--json", "--metrics", str(metrics))
    assert (ended.code, ended.json["status"], ended.json["steps"]) == (75, "left", [])
    assert "which is running" in ended.json["message"]
    assert place.versions == versions
    assert not metrics.exists()
    assert read_report(Table.of(place.table), "2026-11-21") is None


def test_a_second_one_waits(place: Place) -> None:
    with place.lease as lease:
        assert lease.take()
        waiting = threading.Timer(3, lambda: lease.__exit__(None, None, None))
        waiting.start()
        began = time.monotonic()
        place.night("2026-11-20", "--if-running", "wait")
        assert time.monotonic() - began > 3
        waiting.join()


def test_one_that_is_about_to_be_gone_is_given_a_moment(place: Place) -> None:
    script = """
import os, sys, time
from jobs.nights.lease import Lease, StorageOptions
print(Lease(sys.argv[1], StorageOptions()).take(), flush=True)
time.sleep(0.5)
os._exit(0)
"""
    folder = f"{Table.of(place.table).names.runs}/lease"
    ending = subprocess.Popen([sys.executable, "-c", script, folder], stdout=subprocess.PIPE)
    assert ending.stdout is not None
    assert ending.stdout.readline() == b"True\n"
    place.night("2026-11-20")
    ending.wait()


@pytest.mark.kill
@pytest.mark.parametrize("changed", [False, True])
def test_a_killed_first_night_is_taken_up_at_once(place: Place, changed: bool) -> None:
    """Its lease too, since the process is gone; also where the source has changed since it began."""
    for number in range(COUNT, 60):
        place.add(number)
    place.write(cluster={"executor": "local", "block_rows": 2, "commit_interval_s": 0.01, "rows_per_fragment": 2})
    process = start("nightly", str(place.file), "--night", "2026-11-20")
    deadline = time.monotonic() + 60
    while not place.begun and time.monotonic() < deadline:
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    assert end(process).code == -signal.SIGKILL
    assert place.begun
    if changed:
        place.add(99)
        (place.photos / "0.jpg").write_bytes(photograph(100))
    report = place.night("2026-11-20")
    assert statuses(report)["tag"] == "done"
    rows = lance.dataset(f"{place.table}.lance").to_table(columns=["uri", "sha256"]).to_pylist()
    there = {str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in place.photos.iterdir()}
    assert {row["uri"]: row["sha256"] for row in rows} == there
    assert len(rows) == len(there) == 60 + changed


def test_the_first_night_counts_as_new_what_failed_too(place: Place) -> None:
    (place.photos / "broken.jpg").write_text("no image")
    first = place.night("2026-11-20")
    assert first["rows"] == {"new": COUNT + 1, "failed_now": 1}


def test_sigterm_is_an_interruption(place: Place) -> None:
    with place.lease as lease:
        assert lease.take()
        process = start("nightly", str(place.file), "--if-running", "wait")
        assert process.stderr is not None
        assert any("waiting" in line for line in process.stderr)
        process.send_signal(signal.SIGTERM)
        assert end(process).code == 75


def test_a_night_that_is_past_is_refused(place: Place) -> None:
    place.night("2026-11-21")
    ended = place.nightly("--night", "2026-11-20")
    assert ended.code == 2
    assert "night 2026-11-20 is past" in ended.err
    place.night("2026-11-22")
    metrics = place.file.with_name("night.prom")
    past = place.night("2026-11-21", "--metrics", str(metrics))
    assert (past["nothing_to_do"], metrics.exists()) == (True, False)
    assert "was complete, and is past, since 2026-11-22 has begun" in past["message"]
    ended = place.nightly("--night", "2999-01-01")
    assert (ended.code, "has not come yet" in ended.err) == (2, True)


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"overwrite": 1}, "overwrite is for one run"),
        ({"source": {"uri": "photos", "limit": 5}}, "source.limit"),
        ({"night": "today"}, "named by its date"),
        ({"upkeep": {"keep": 3}}, "upkeep.keep: unknown key"),
        ({"if_running": "stay"}, "if_running"),
    ],
)
def test_what_would_do_harm_is_refused_before_anything_is_done(place: Place, given: dict[str, Any], says: str) -> None:
    place.write(**given)
    ended = place.nightly()
    assert ended.code == 2
    assert says in ended.err
    assert not Path(f"{place.table}.lance").exists()


def test_metrics_are_written_at_the_end_also_of_a_night_that_fails(place: Place) -> None:
    metrics = place.photos.with_name("night.prom")
    place.night("2026-11-20", "--metrics", str(metrics))
    assert read(metrics)["pixlake_nightly_exit_status"] == 0
    success = read(metrics)["pixlake_nightly_last_success_timestamp_seconds"]
    place.photos.rename(place.photos.with_name("elsewhere"))
    assert place.nightly("--night", "2026-11-21", "--metrics", str(metrics)).code == 1
    failed = read(metrics)
    assert failed["pixlake_nightly_exit_status"] == 1
    assert failed["pixlake_nightly_last_success_timestamp_seconds"] == success
    assert failed["pixlake_nightly_oldest_unrefreshed_change_seconds"] > 0
    assert place.nightly("--night", "2999-01-01", "--metrics", str(metrics)).code == 2
    refused = read(metrics)
    assert refused["pixlake_nightly_exit_status"] == 2
    assert refused["pixlake_nightly_last_success_timestamp_seconds"] == success
    assert refused["pixlake_nightly_end_timestamp_seconds"] > failed["pixlake_nightly_end_timestamp_seconds"]


def test_a_folder_that_is_gone_is_not_waited_for(place: Place) -> None:
    place.night("2026-11-20")
    place.write(retries={"attempts": 3, "first_pause_s": 600})
    place.photos.rename(place.photos.with_name("elsewhere"))
    ended = place.nightly("--night", "2026-11-21", "--json")
    step = ended.json["steps"][-1]
    assert (ended.code, step["name"], step["status"], step["attempts"]) == (1, "refresh", "failed", 1)
    assert "no file or folder" in step["message"]
    ended = place.nightly("--metrics", f"{place.photos}/no/such/folder/night.prom")
    assert (ended.code, "--metrics" in ended.err) == (2, True)


def read(path: Path) -> dict[str, float]:
    """Metrics without labels but the table's."""
    samples = [each for family in text_string_to_metric_families(path.read_text()) for each in family.samples]
    return {each.name: each.value for each in samples if len(each.labels) == 1}


def test_the_text_tells_each_step(place: Place) -> None:
    said = place.nightly("--night", "2026-11-20").out.splitlines()
    assert said[0].endswith("night 2026-11-20: complete")
    assert [line.split()[0] for line in said[1:-1]] == ["embed", "refresh", "upkeep", "tag", "gates", "drift"]
    assert said[-1].startswith("  the table has every change before ")
