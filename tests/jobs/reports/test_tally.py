"""Sums over receipts, and what bounds a run."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from jobs.embedding.report import _stage_reports
from jobs.reports.tally import BOUND_BY, Tally, bound_by
from operators.crop import CropConfig
from operators.decode import DecodeConfig
from operators.embed import EmbedPixelsConfig
from operators.fetch import FetchConfig
from operators.models.load import describe
from operators.models.spec import parse_model_name
from operators.normalize import NormalizeConfig, RenormalizeConfig
from operators.regions.options import DetectorOptions
from pipelines.commits.committer import Published
from pipelines.commits.receipts import Receipt
from pipelines.embedding.image_embedding import BESIDE, OPERATORS
from pipelines.run.stage import Resources, Stage
from pipelines.table.positions import pack_runs, position_keys

MODEL = describe(parse_model_name("null"))
PRE = (FetchConfig(), DecodeConfig(targets={"pixels": MODEL.preprocess}))
POST = (EmbedPixelsConfig(model=MODEL), NormalizeConfig())


def two(pre_actors: int = 1, embed_actors: int = 1, concurrent: int = 1) -> tuple[Stage, ...]:
    resources = Resources(num_actors=pre_actors, concurrent_blocks=concurrent)
    return (
        Stage(name="preprocess", operators=PRE, resources=resources),
        Stage(name="embed", operators=POST, resources=Resources(num_actors=embed_actors)),
    )


@pytest.mark.parametrize(
    ("stages", "seconds", "expected"),
    [
        (two(), {}, None),
        (two(), {"fetch": 5, "decode": 3, "embed": 7, "write": 1}, "network"),
        (two(), {"fetch": 1, "decode": 3, "embed": 7, "write": 1}, "model"),
        (two(pre_actors=4), {"fetch": 5, "decode": 6, "embed": 4, "write": 1}, "model"),
        (two(embed_actors=4), {"fetch": 2, "decode": 3, "embed": 16, "write": 1}, "decode"),
        (two(concurrent=3), {"fetch": 9, "decode": 6, "embed": 5.5, "write": 1}, "model"),
        (two(), {"fetch": 1, "decode": 1, "embed": 1, "write": 9}, "write"),
        (two(pre_actors=0), {"fetch": 2, "decode": 1, "embed": 1}, "network"),
    ],
)
def test_the_busiest_pool_and_in_it_the_operator_that_takes_longest(stages, seconds, expected):  # type: ignore[no-untyped-def]
    assert bound_by(stages, seconds, 1) == expected


def test_in_one_pool_the_slowest_operator_counts() -> None:
    whole = (Stage(name="embed", operators=(*PRE, *POST), resources=Resources(num_actors=2)),)
    assert bound_by(whole, {"fetch": 1, "decode": 4, "embed": 3, "normalize": 0.1, "write": 2}, 1) == "decode"


def test_the_seconds_of_several_models_are_counted_once() -> None:
    models = (EmbedPixelsConfig(model=MODEL, keep_pixels=True), EmbedPixelsConfig(model=MODEL, column="vector_b"))
    stages = (two()[0], Stage(name="embed", operators=(*models, NormalizeConfig()), resources=Resources(num_actors=1)))
    assert bound_by(stages, {"fetch": 4, "decode": 3, "embed": 6, "write": 1}, 1) == "network"
    reports = _stage_reports(stages, Tally(seconds={"fetch": 4, "decode": 3, "embed": 6, "normalize": 0.5}, rows=10))
    assert reports["embed"].seconds == {"embed": 6, "normalize": 0.5}


def test_loading_is_the_mean_over_the_rows() -> None:
    """Ten rows came through an actor that loaded for 4 s, thirty through one that took 8 s."""
    tally = Tally(seconds={"load_embed": 10 * 4.0 + 30 * 8.0, "load_preprocess": 40 * 0.5}, rows=40)
    loads = {name: report.load_seconds for name, report in _stage_reports(two(), tally).items()}
    assert loads == {"preprocess": 0.5, "embed": 7.0, "write": 0.0}
    assert Tally().load_seconds("embed") == 0


def test_rows_left_undone_count_where_what_is_counted_passed_them_too() -> None:
    """Three of forty rows were done before a spend cap was reached; each of the forty tells what its actor loaded."""
    tally = Tally()
    tally.received(replace(receipt(3), not_attempted=37, seconds={"load_embed": 40 * 2.0}))
    assert (tally.rows, tally.seen, tally.load_seconds("embed")) == (3, 40, 2.0)


def test_writers_side_by_side_share_the_seconds_spent_writing() -> None:
    seconds = {"fetch": 1, "decode": 1, "embed": 5, "write": 9}
    assert [bound_by(two(), seconds, writers) for writers in (1, 2)] == ["write", "model"]
    tally = Tally(num_writers=2, seconds=seconds)
    assert tally.busiest(two()) == "model"


def test_the_report_of_each_pool_counts_the_blocks_that_it_works_on_at_once() -> None:
    tally = Tally(num_writers=2, created=0.0, first_block=10.0, last_commit=20.0, rows=1000)
    tally.seconds = {"fetch": 20.0, "decode": 40.0, "embed": 5.0, "write": 4.0}
    reports = _stage_reports(two(pre_actors=2, concurrent=4), tally)
    found = {name: (r.actors, r.images_per_s, r.busy_share) for name, r in reports.items()}
    assert found == {
        "preprocess": (2, pytest.approx(1000 * 8 / 60), pytest.approx(60 / 80)),
        "embed": (1, pytest.approx(1000 / 5), pytest.approx(0.5)),
        "write": (2, pytest.approx(1000 * 2 / 4), pytest.approx(4 / 20)),
    }
    assert reports["write"].seconds == {"write": 4.0}


def test_what_not_every_run_has_is_named_too() -> None:
    crop = CropConfig(targets={"pixels": MODEL.preprocess}, regions=DetectorOptions(kind="detector", model="m"))
    operators = (*PRE, crop, *POST, RenormalizeConfig(column="vector_64"))
    stages = (Stage(name="all", operators=operators, resources=Resources(num_actors=1)),)
    for name, word in (("crop", "decode"), ("renormalize", "model"), ("normalize", "model")):
        assert bound_by(stages, {"fetch": 1, "decode": 1, "embed": 1, name: 5, "write": 1}, 1) == word
    assert set(BOUND_BY) <= {*OPERATORS, *BESIDE, "write"}


def receipt(vectors: int, failures: int = 0, skipped: int = 0) -> Receipt:
    edges = np.cumsum([0, vectors, failures, skipped])
    runs = [pack_runs(position_keys(np.zeros(b - a, int), np.arange(a, b))) for a, b in pairwise(edges)]
    return Receipt(
        vector_fragments="[]",
        failure_fragments="[]",
        vector_runs=runs[0],
        failure_runs=runs[1],
        skipped_runs=runs[2],
        failure_counts={"corrupt": failures} if failures else {},
        size_bytes=100,
        written_bytes=10,
        requests=vectors + failures,
        seconds={"embed": 1.5, "write": 0.5},
    )


def test_receipts_add_up() -> None:
    tally = Tally()
    for each in (receipt(10, 2, 3), receipt(5, 1)):
        tally.received(each)
    assert (tally.rows, tally.failed) == (21, 3)
    assert (tally.size_bytes, tally.written_bytes, tally.requests) == (200, 20, 18)
    assert tally.seconds == {"embed": 3.0, "write": 1.0}
    assert tally.failure_counts == {"corrupt": 3}


def test_rows_that_came_twice_count_once() -> None:
    tally = Tally()
    for _ in range(2):
        tally.received(receipt(10, 1))
    tally.published(Published(vectors=10, failures=1, skipped=0, repeated=11, rejected=0))
    assert (tally.vectors, tally.failures, tally.published_rows, tally.rows) == (10, 1, 11, 22)


def test_start_up_ends_with_the_first_block_and_the_run_with_the_last_commit() -> None:
    tally = Tally(created=100.0)
    assert tally.running_seconds == 0
    tally.first_block, tally.last_commit = 103.0, 110.0
    assert (tally.startup_seconds, tally.running_seconds) == (3.0, 7.0)
    tally.flowing()
    assert tally.first_block == 103.0
