"""Small jobs stay in their process, large ones go to Ray; blocks are a second of one core's work, or three on Ray."""

from dataclasses import replace
from typing import Any, Literal

import pytest

from operators.models.load import describe
from operators.models.spec import parse_model_name
from operators.regions.options import DetectorOptions, GridOptions, PatchesOptions
from pipelines.balance.choose import BLOCK_BYTES, SMALL_S, choose
from pipelines.balance.costs import HANDLING_S, RowCosts, row_costs
from pipelines.embedding.columns import VectorColumn
from pipelines.run.cluster import ClusterConfig, StageConfig

PIXELS = 224 * 224 * 3


def cluster(**settings: Any) -> ClusterConfig:
    return ClusterConfig(stages=(StageConfig(name="all", operators=("fetch",)),), **{"num_cpus": 2, **settings})


def costs(forward_s: float, **others: Any) -> RowCosts:
    return RowCosts(**{"decode_s": 0.002, "forward_s": forward_s, "pixel_bytes": PIXELS, **others})


@pytest.mark.parametrize(
    ("forward_s", "rows", "executor"),
    [
        (0.05, 1, "local"),
        (0.05, 10_000, "local"),
        (0.05, 20_000, "ray"),
        (0.0, 200_000, "local"),
        (0.0, 300_000, "ray"),
    ],
)
def test_rows_and_the_model_decide_together(forward_s: float, rows: int, executor: str) -> None:
    assert choose(cluster(), costs(forward_s), rows).executor == executor


def test_twice_the_cores_make_twice_the_rows_small() -> None:
    rows = int(2 * SMALL_S / 0.0525)
    assert choose(cluster(), costs(0.05), rows - 1).executor == "local"
    assert choose(cluster(), costs(0.05), rows + 1).executor == "ray"
    assert choose(cluster(num_cpus=4), costs(0.05), 2 * rows - 1).executor == "local"


def test_one_process_does_not_grow_with_the_cores_without_end() -> None:
    rows = int(SMALL_S / HANDLING_S)
    assert choose(cluster(num_cpus=100), costs(0.0), rows - 1).executor == "local"
    assert choose(cluster(num_cpus=100), costs(0.0), rows + 1).executor == "ray"


def test_a_provider_that_sets_the_pace_makes_a_job_long() -> None:
    assert choose(cluster(), costs(0.0, asked_s=0.5), 700).executor == "ray"


def test_what_is_set_is_taken() -> None:
    chosen = choose(cluster(executor="ray", block_rows=7), costs(0.0), 1)
    assert (chosen.executor, chosen.block_rows) == ("ray", 7)
    assert choose(cluster(executor="local"), costs(1.0), 10**9).executor == "local"
    assert choose(cluster(address="auto"), costs(0.0), 1).executor == "ray"
    assert "cluster.address is auto" in choose(cluster(address="auto"), costs(0.0), 1).why(cluster(address="auto"))


@pytest.mark.parametrize(("forward_s", "block_rows"), [(0.05, 48), (0.008, 272), (0.0, 512), (1.0, 8), (0.02, 128)])
def test_a_block_is_three_seconds_of_one_core_on_ray(forward_s: float, block_rows: int) -> None:
    assert choose(cluster(executor="ray"), costs(forward_s), 10**6).block_rows == block_rows


def test_a_block_of_this_process_is_a_second_and_stays_near_the_caches() -> None:
    local = cluster(executor="local")
    assert [choose(local, costs(forward_s), 10**6).block_rows for forward_s in (0.05, 0.008, 0.0)] == [16, 80, 160]


def test_a_short_job_is_cut_finer() -> None:
    assert choose(cluster(), costs(0.008), 1000).block_rows == 16


@pytest.mark.parametrize("executor", ["local", "ray"])
def test_pixels_are_bounded(executor: Literal["local", "ray"]) -> None:
    most, here = BLOCK_BYTES[executor], cluster(executor=executor)
    assert choose(here, costs(0.0, pixel_bytes=most // 3), 10**6).block_rows == 3
    assert choose(here, costs(0.0, pixel_bytes=2 * most), 10**6).block_rows == 1
    rows = {"local": 400, "ray": 512}[executor]
    assert choose(here, costs(0.0, pixel_bytes=0), 10**6).block_rows == rows, "ready vectors have no pixels"


@pytest.mark.parametrize(
    ("forward_s", "network_s", "block_rows"),
    [(0.0, 0.0, 2048), (0.0, 0.002, 1488), (0.0, 0.02, 512), (0.0, 9.0, 512), (0.02, 9.0, 144), (0.002, 0.0, 1200)],
)
def test_light_blocks_of_cheap_rows_are_large_where_the_network_is_quick(
    forward_s: float, network_s: float, block_rows: int
) -> None:
    row = replace(costs(forward_s), decode_s=0.0, network_s=network_s)
    assert choose(cluster(executor="ray"), row, 10**6, light=True).block_rows == block_rows
    assert choose(cluster(executor="ray"), row, 10**6).block_rows == min(block_rows, 512)
    here = choose(cluster(executor="local"), row, 10**6)
    assert choose(cluster(executor="local"), row, 10**6, light=True) == here


def test_rows_of_a_tar_are_read_many_with_one_request() -> None:
    for executor in ("local", "ray"):
        assert choose(cluster(executor=executor), costs(0.05), 10**6, packed=True).block_rows == 128


def test_a_row_costs_all_its_regions_and_models() -> None:
    model = describe(parse_model_name("null"))
    columns = [VectorColumn(name=name, model=model, precision="float32", forward_s=0.01) for name in ("a", "b")]
    assert row_costs(columns, None).forward_s == 0.02
    assert row_costs(columns, None).pixel_bytes == PIXELS
    assert row_costs(columns, GridOptions(kind="grid", rows=3, columns=3)).forward_s == pytest.approx(0.18)
    assert row_costs(columns, GridOptions(kind="grid", rows=3, columns=3)).pixel_bytes == 9 * PIXELS
    assert row_costs(columns, PatchesOptions(kind="patches", cells=7)).forward_s == 0.02
    detected = row_costs(columns, DetectorOptions(kind="detector", model="any", max_regions=4, image_size=1600))
    assert detected.forward_s == pytest.approx(1.02)
    assert detected.pixel_bytes == 3 * 1600**2
    assert choose(cluster(), detected, 10**6).block_rows == 8


def test_blocks_of_a_model_with_a_quota_are_a_second_of_that() -> None:
    asked = row_costs([], None, requests_per_minute=600)
    assert choose(cluster(executor="ray"), asked, 10**9).block_rows == 10
