"""`--retry-failed`: failures that now succeed move to the vector table, the others stay, once."""

import shutil
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import lance
import pytest

from end_to_end.audit import Expected, audit, read
from end_to_end.command import LOCAL, LOOPBACK, embed_here, end, pixlake, pixlake_here, start
from made.solid_images import png_of
from made.sources import make_folder, write_manifest
from servers.images import ImageServer


def broken_source(folder: Path) -> tuple[str, list[Expected]]:
    """30 rows: 5 missing, 5 that are no image, 20 good."""
    expected = make_folder(folder / "images", range(30))
    for number in range(5):
        (folder / f"images/{number:05d}.png").unlink()
    for number in range(5, 10):
        (folder / f"images/{number:05d}.png").write_text("still being written")
    classes = ["not_found"] * 5 + ["unsupported_format"] * 5 + [None] * 20
    failed = [replace(each, failure=name) for each, name in zip(expected, classes, strict=True)]
    return write_manifest(folder / "manifest.parquet", expected), failed


def mend(folder: Path, numbers: range) -> None:
    for number in numbers:
        (folder / f"images/{number:05d}.png").write_bytes(png_of(number))


def mended(expected: list[Expected], numbers: range) -> list[Expected]:
    return [replace(each, failure=None) if each.number in numbers else each for each in expected]


def test_all_failures_are_tried_again(tmp_path: Path) -> None:
    (manifest, expected), table = broken_source(tmp_path), f"{tmp_path}/lake/photos"
    assert embed_here(manifest, table).code == 0
    audit(table, expected)
    mend(tmp_path, range(3, 8))
    ended = embed_here(manifest, table, "--retry-failed", "--json")
    assert ended.code == 0, ended.err
    assert [ended.json[key] for key in ("vectors", "failures", "embedded_now", "failed_now")] == [25, 5, 5, 5]
    audit(table, mended(expected, range(3, 8)))


def test_failures_of_one_class_are_tried_again(tmp_path: Path) -> None:
    (manifest, expected), table = broken_source(tmp_path), f"{tmp_path}/lake/photos"
    assert embed_here(manifest, table).code == 0
    mend(tmp_path, range(10))
    ended = embed_here(manifest, table, "--retry-failed", "not_found", "--json")
    assert (ended.code, ended.json["embedded_now"], ended.json["failed_now"]) == (0, 5, 0), ended.err
    audit(table, mended(expected, range(5)))
    assert embed_here(manifest, table, "--retry-failed").code == 0
    audit(table, mended(expected, range(10)))
    again = embed_here(manifest, table, "--retry-failed", "--json")
    assert (again.code, again.json["embedded_now"], again.json["failed_now"]) == (0, 0, 0)


def test_a_failure_may_change_its_class(tmp_path: Path) -> None:
    (manifest, expected), table = broken_source(tmp_path), f"{tmp_path}/lake/photos"
    assert embed_here(manifest, table).code == 0
    shutil.copy(tmp_path / "images/00005.png", tmp_path / "images/00000.png")
    assert embed_here(manifest, table, "--retry-failed", "not_found").code == 0
    audit(table, [replace(expected[0], failure="unsupported_format"), *expected[1:]])


@pytest.mark.kill
@pytest.mark.parametrize("number", [signal.SIGKILL, pytest.param(signal.SIGTERM, marks=pytest.mark.slow)])
def test_a_retry_that_is_cut_off_goes_on(tmp_path: Path, image_server: ImageServer, number: signal.Signals) -> None:
    expected = image_server.expected(range(300))
    manifest, table = write_manifest(tmp_path / "manifest.parquet", expected), f"{tmp_path}/lake/photos"
    sizes = ("--set", "cluster.block_rows=10", "--set", "cluster.rows_per_fragment=20")
    arguments = ("embed", manifest, table, *LOCAL, *LOOPBACK, *sizes, "--set", "cluster.commit_interval_s=0.05")
    image_server.missing = set(range(0, 300, 2))
    assert pixlake_here(*arguments).code == 0
    image_server.missing = set()
    image_server.forget()
    # Beyond what is in work at a time: rows before it are committed by then.
    image_server.hold_from(135)
    process = start(*arguments, "--retry-failed")
    image_server.wait_for_hold()
    process.send_signal(number)
    assert end(process).code == (75 if number == signal.SIGTERM else -number)
    vectors, failures = read(table)
    assert 150 < vectors.num_rows < 300
    assert failures.num_rows < 150
    image_server.forget()
    ended = pixlake(*arguments, "--retry-failed", "--json")
    assert (ended.code, ended.json["vectors"], ended.json["failures"]) == (0, 300, 0), ended.err
    assert not set(image_server.requested) & set(vectors["uri"].to_pylist())
    audit(table, expected)


def test_a_failure_whose_id_came_from_elsewhere_ends_the_retry_too(tmp_path: Path) -> None:
    (manifest, expected), table = broken_source(tmp_path), f"{tmp_path}/lake/photos"
    named = [replace(each, id=f"image-{each.number}") for each in expected]
    by_key = ("--set", "source.id_column=key", "--skip-existing")
    manifest = write_manifest(tmp_path / "named.parquet", named)
    assert embed_here(manifest, table, *by_key).code == 0
    mend(tmp_path, range(5))
    other = [replace(each, failure=None) for each in named[:2]]
    assert embed_here(write_manifest(tmp_path / "other.parquet", other), table, *by_key).code == 0
    ended = embed_here(manifest, table, *by_key, "--retry-failed", "not_found", "--json")
    assert (ended.code, ended.json["embedded_now"]) == (0, 3), ended.err


def test_a_retry_killed_between_its_commits_is_set_right_by_the_plain_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (manifest, expected), table = broken_source(tmp_path), f"{tmp_path}/lake/photos"
    assert embed_here(manifest, table).code == 0
    mend(tmp_path, range(5))
    real = lance.LanceDataset.commit

    def cut(target: Any, transaction: Any, **options: Any) -> Any:
        of_failures = str(getattr(target, "uri", target)).endswith("__failures.lance")
        if of_failures and isinstance(transaction.operation, lance.LanceOperation.Update) and vectors(table) == 25:
            raise KeyboardInterrupt
        return real(target, transaction, **options)

    with monkeypatch.context() as patch:
        patch.setattr(lance.LanceDataset, "commit", staticmethod(cut))
        assert embed_here(manifest, table, "--retry-failed", "not_found").code == 75
    assert (vectors(table), len(read(table)[1])) == (25, 10)
    ended = embed_here(manifest, table, "--json")
    assert (ended.code, ended.json["vectors"], ended.json["failures"]) == (0, 25, 5), ended.err
    audit(table, mended(expected, range(5)))


def vectors(table: str) -> int:
    return len(read(table)[0])
