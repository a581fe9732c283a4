"""Blocks of about as many bytes, whatever an image's regions; nothing of it reaches a vector."""

from typing import Any

import pytest
from pydantic import TypeAdapter

from operators.regions.options import RegionOptions
from pipelines.embedding.region_blocks import sized_for_regions
from pipelines.run.cluster import ClusterConfig, StageConfig

CLUSTER = ClusterConfig(
    stages=(StageConfig(name="all", operators=("fetch",)),), block_rows=128, rows_per_fragment=1000, batch_size=32
)


@pytest.mark.parametrize(
    ("options", "block_rows", "rows_per_fragment"),
    [
        ({"kind": "grid", "rows": 3, "columns": 3}, 14, 111),
        ({"kind": "grid", "rows": 3, "columns": 3, "whole": True}, 12, 100),
        ({"kind": "grid", "rows": 20, "columns": 10, "max_regions": 200}, 1, 5),
        ({"kind": "tiles", "sizes": [100]}, 8, 62),
        ({"kind": "boxes", "column": "b", "max_regions": 3}, 128, 1000),
        ({"kind": "detector", "model": "any"}, 8, 62),
        ({"kind": "detector", "model": "any", "max_regions": 1, "image_size": 900}, 8, 1000),
        ({"kind": "detector", "model": "any", "image_size": 1600}, 2, 62),
        ({"kind": "patches", "cells": 7}, 128, 20),
        ({"kind": "patches", "column": "b"}, 128, 62),
    ],
)
def test_images_a_block(options: dict[str, Any], block_rows: int, rows_per_fragment: int) -> None:
    sized = sized_for_regions(CLUSTER, TypeAdapter(RegionOptions).validate_python(options))
    assert (sized.block_rows, sized.rows_per_fragment) == (block_rows, rows_per_fragment)
    assert sized.model_copy(update={"block_rows": 128, "rows_per_fragment": 1000}) == CLUSTER


def test_without_regions_all_stays() -> None:
    assert sized_for_regions(CLUSTER, None) is CLUSTER
