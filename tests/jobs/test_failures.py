"""Failures listed, counted and filtered."""

import json
from pathlib import Path

import pytest

from jobs.config.load import ConfigError, load_config
from jobs.describe import DescribeConfig
from jobs.describe import as_text as described_text
from jobs.describe import run as describe
from jobs.embed import EmbedConfig
from jobs.embed import run as embed
from jobs.failures import Failures, FailuresConfig, as_text, run
from jobs.reports.remedies import remedy
from made.table import Made
from operators.base.errors import ErrorClass, UserError


def failures(made: Made, **filters: object) -> Failures:
    return run(FailuresConfig(table=made.table, **filters))  # type: ignore[arg-type]


def test_every_failure_is_counted_by_class_and_listed(made: Made) -> None:
    found = failures(made)
    assert found.total == 2
    assert found.by_class == {"not_found": 1, "unsupported_format": 1}
    rows = {row["id"]: row for row in found.rows}
    assert (rows["missing"]["stage"], rows["missing"]["error_class"]) == ("fetch", "not_found")
    assert (rows["notes"]["stage"], rows["notes"]["uri"]) == ("decode", str(made.folder / "notes.png"))


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        ({"error_class": ErrorClass.NOT_FOUND}, ["missing"]),
        ({"stage": "decode"}, ["notes"]),
        ({"contains": "issing.p"}, ["missing"]),
        ({"contains": "o'grey"}, []),
        ({"contains": "%"}, []),
        ({"stage": "decode", "error_class": ErrorClass.NOT_FOUND}, []),
    ],
)
def test_filters(made: Made, filters: dict[str, object], expected: list[str]) -> None:
    found = failures(made, **filters)
    assert [row["id"] for row in found.rows] == expected
    assert found.total == len(expected) == sum(found.by_class.values())


def test_an_image_that_fails_through_two_manifests_is_told_as_one(tmp_path: Path) -> None:
    names = ["gone", "gone too"]
    for count in (1, 2):
        manifest = tmp_path / f"{count}.jsonl"
        lines = [json.dumps({"id": name, "uri": f"{name}.png"}) for name in names[:count]]
        manifest.write_text("\n".join([*lines, json.dumps({"id": None, "uri": ""})]))
        base = {"source": {"uri": str(manifest), "id_column": "id"}, "table": f"{tmp_path}/lake/t"}
        settings = {"model": {"name": "null"}, "cluster": {"executor": "local"}, "skip_existing": True}
        assert embed(EmbedConfig.model_validate({**base, **settings})).failures == count + 1
    found = run(FailuresConfig(table=f"{tmp_path}/lake/t"))
    assert (found.total, found.images) == (5, 4)
    assert ": 5 failures of 4 images, some tried through several manifests: bad_uri 2, not_found 3" in as_text(found)
    described = describe(DescribeConfig(table=f"{tmp_path}/lake/t"))
    assert (described.failures, described.failed_images) == (5, 4)
    assert "0 vectors, 5 failures of 4 images (why: pixlake failures" in described_text(described)


def test_a_limit_shortens_the_list_and_not_the_counts(made: Made) -> None:
    for limit in (0, 1):
        found = failures(made, limit=limit)
        assert (found.total, len(found.rows)) == (2, limit)
        assert f"… and {2 - limit} more (--limit)\n" in as_text(found)


def test_as_text_says_what_and_where_and_why(made: Made) -> None:
    text = as_text(failures(made))
    assert text.startswith(f"{made.table}: 2 failures: not_found 1, unsupported_format 1\n")
    assert f"unsupported_format  {made.folder / 'notes.png'}  decode: " in text
    assert "more" not in text
    assert text.splitlines()[-2:] == [f"to do, {name}: {remedy(name)}" for name in ("not_found", "unsupported_format")]
    assert as_text(failures(made, stage="embed")) == f"{made.table}: none of its 2 failures match"
    none = failures(made, stage="embed").model_copy(update={"of": 0})
    assert as_text(none) == f"{made.table}: no failures"


def test_an_unknown_class_shows_the_known_ones() -> None:
    with pytest.raises(ConfigError, match=r"error_class: .*'not_found'"):
        load_config(FailuresConfig, base={"table": "t", "error_class": "notfound"})


def test_a_table_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="there is no failures table at"):
        run(FailuresConfig(table=str(tmp_path / "none")))
