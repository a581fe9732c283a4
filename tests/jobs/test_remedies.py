"""What is said of failures can be done: with a mended manifest, another setting, or another table."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from jobs.embed import EmbedConfig, run
from jobs.failures import FailuresConfig, as_text
from jobs.failures import run as failures
from jobs.refresh import RefreshConfig
from jobs.refresh import as_text as refreshed_as_text
from jobs.refresh import run as refresh
from jobs.reports.remedies import remedy
from jobs.reports.run_report import summary
from jobs.search import SearchConfig
from jobs.search import run as search
from made.failpoints_on import failing_at
from operators.base.errors import UserError


def config(source: dict[str, Any], table: Path, **others: Any) -> EmbedConfig:
    base = {"source": source, "table": str(table), "model": {"name": "null"}, "cluster": {"executor": "local"}}
    return EmbedConfig.model_validate({**base, **others})


def test_truncated_images_go_into_a_table_of_their_own(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (2, 64, 64, 3), dtype=np.uint8)
    folder = tmp_path / "images"
    folder.mkdir()
    for name, each in zip("ab", pixels, strict=True):
        Image.fromarray(each).save(folder / f"{name}.jpg")
    cut = folder / "b.jpg"
    cut.write_bytes(cut.read_bytes()[:2000])
    report = run(config({"uri": str(folder)}, tmp_path / "lake" / "t"))
    assert (report.vectors, report.failures) == (1, 1)
    allowed = {"decode": {"allow_truncated": True}}
    with pytest.raises(UserError, match=r"into a table of their own: docs/failures\.md"):
        run(config({"uri": str(folder)}, tmp_path / "lake" / "t", retry_failed="truncated", **allowed))
    rows = failures(FailuresConfig(table=str(tmp_path / "lake" / "t"))).rows
    manifest = tmp_path / "truncated.jsonl"
    manifest.write_text("".join(json.dumps({name: row[name] for name in ("id", "uri")}) + "\n" for row in rows))
    report = run(config({"uri": str(manifest), "id_column": "id"}, tmp_path / "lake" / "cut", **allowed))
    assert (report.vectors, report.failures) == (1, 0)


def test_images_shrunk_on_load_are_a_space_of_their_own_that_queries_follow(tmp_path: Path) -> None:
    folder, table = tmp_path / "images", tmp_path / "lake" / "t"
    folder.mkdir()
    for seed in range(3):
        small = Image.fromarray(np.random.default_rng(seed).integers(0, 256, (30, 40, 3), dtype=np.uint8))
        small.resize((1601, 1201)).save(folder / f"{seed}.jpg", quality=95)
    shrinking = {"decode": {"shrink_on_load": True}}
    assert run(config({"uri": str(folder)}, table, **shrinking)).vectors == 3
    with pytest.raises(UserError, match=r"decode\.shrink_on_load"):
        run(config({"uri": str(folder)}, table))
    found = search(SearchConfig(table=str(table), image=str(folder / "1.jpg"), k=1)).results
    assert (found[0]["uri"], found[0]["score"]) == (str(folder / "1.jpg"), pytest.approx(1, abs=1e-6))


def three_images(folder: Path) -> list[str]:
    folder.mkdir()
    pixels = np.random.default_rng(0).integers(0, 256, (3, 64, 64, 3), dtype=np.uint8)
    for number, each in enumerate(pixels):
        Image.fromarray(each).save(folder / f"{number}.png")
    return sorted(map(str, folder.iterdir()))


def test_rows_of_a_mended_manifest_are_taken_as_is_said(tmp_path: Path) -> None:
    uris, table = three_images(tmp_path / "images"), tmp_path / "lake" / "t"
    manifest = tmp_path / "m.jsonl"
    rows = [{"uri": uri} for uri in uris]
    manifest.write_text("".join(json.dumps(row) + "\n" for row in [*rows[:2], {"uri": ""}]))
    assert run(config({"uri": str(manifest)}, table)).failures_by_class == {"bad_uri": 1}
    assert "--skip-existing" in remedy("bad_uri")
    manifest.write_text("".join(json.dumps(row) + "\n" for row in rows))
    with pytest.raises(UserError, match="--skip-existing"):
        run(config({"uri": str(manifest)}, table, retry_failed="bad_uri"))
    report = run(config({"uri": str(manifest)}, table, skip_existing=True))
    assert (report.embedded_now, report.skipped, report.failures) == (1, 2, 0)


def test_a_setting_that_vectors_depend_on_needs_another_table_as_is_said(tmp_path: Path) -> None:
    uris, table = three_images(tmp_path / "images"), tmp_path / "lake" / "t"
    manifest = tmp_path / "m.jsonl"
    boxes = [[[0, 0, 9, 9]], [[0, 0, 9, 9]] * 2, [[0, 0, 9, 9]] * 3]
    manifest.write_text("".join(json.dumps({"uri": u, "boxes": b}) + "\n" for u, b in zip(uris, boxes, strict=True)))
    source = {"uri": str(manifest), "keep": ["boxes"]}
    regions = {"kind": "boxes", "column": "boxes", "max_regions": 2}
    assert run(config(source, table, regions=regions)).failures_by_class == {"too_many_regions": 1}
    assert "another table" in remedy("too_many_regions")
    more = regions | {"max_regions": 3}
    with pytest.raises(UserError, match=r"regions\.max_regions"):
        run(config(source, table, regions=more, retry_failed="too_many_regions"))
    assert run(config(source, tmp_path / "lake" / "more", regions=more)).failures == 0


def test_failures_of_a_refreshed_table_are_taken_again_as_is_said(tmp_path: Path) -> None:
    three_images(tmp_path / "images")
    table = str(tmp_path / "lake" / "t")
    source = {"uri": str(tmp_path / "images")}
    run(config(source, tmp_path / "lake" / "t", decode={"max_pixels": 5000}))
    (tmp_path / "images" / "notes.png").write_text("no image")
    Image.new("RGB", (90, 90), (1, 2, 3)).save(tmp_path / "images" / "large.png")
    refresh(RefreshConfig.model_validate({"table": table}))
    found = failures(FailuresConfig(table=table))
    assert (found.by_class, found.refreshed) == ({"too_many_pixels": 1, "unsupported_format": 1}, True)
    text = as_text(found)
    assert "under the same names; then `pixlake refresh`" in text
    assert "decode.max_pixels; then `pixlake refresh` with that setting" in text
    left = refresh(RefreshConfig.model_validate({"table": table, "decode": {"decode_timeout_s": 60}}))
    assert (left.nothing_to_do, left.counts["failed"]) == (True, 2)
    assert "not tried again: the objects are what they were (--retry-failed tries them)" in refreshed_as_text(left)
    asked = refresh(RefreshConfig.model_validate({"table": table, "retry_failed": "unsupported_format"}))
    assert (asked.counts["retried"], asked.counts["failed"], asked.failed) == (1, 1, 1)
    settings = {"decode": {"max_pixels": 10000}, "cluster": {"retries": 0}}
    allowed = RefreshConfig.model_validate({"table": table, **settings})
    with failing_at("write.before"):
        assert refresh(allowed).status == "failed"
    # What was begun with the setting and not ended is begun anew.
    taken = refresh(allowed)
    assert (taken.counts["retried"], taken.counts["failed"], taken.embedded, taken.failed) == (1, 1, 1, 0)
    # The setting is that of the table from then on.
    Image.new("RGB", (90, 91), (1, 2, 3)).save(tmp_path / "images" / "larger.png")
    Image.new("RGB", (9, 9), (4, 5, 6)).save(tmp_path / "images" / "notes.png")
    assert refresh(RefreshConfig.model_validate({"table": table})).failed == 0
    assert failures(FailuresConfig(table=table)).total == 0


def test_the_report_of_an_embed_into_a_refreshed_table_says_how_its_failures_are_taken(tmp_path: Path) -> None:
    three_images(tmp_path / "images")
    source = {"uri": str(tmp_path / "images")}
    table = str(tmp_path / "lake" / "t")
    run(config(source, tmp_path / "lake" / "t"))
    (tmp_path / "images" / "first.png").write_text("no image")
    refresh(RefreshConfig.model_validate({"table": table}))
    (tmp_path / "images" / "second.png").write_text("no image")
    report = run(config(source, tmp_path / "lake" / "t", skip_existing=True))
    assert report.most_frequent_failure is not None
    assert report.most_frequent_failure.remedy.endswith("under the same names; then `pixlake refresh`")
    again = run(config(source, tmp_path / "lake" / "t", skip_existing=True))
    assert again.nothing_to_do
    assert f"pixlake failures {table} says why, and how `pixlake refresh` takes them again" in summary(again)
