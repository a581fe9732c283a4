"""Which options a query image gets its regions by, for each kind and layout of a table."""

from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from pydantic import TypeAdapter

from operators.base.arrays import vector_field
from operators.base.columns import REGIONS
from operators.regions.options import BoxesOptions, PatchesOptions, RegionOptions
from pipelines.search.column import search_column
from pipelines.search.regions import QUERY_BOX, Box, best_regions, box_text, query_regions, regions_of, split_box

CUT = {"kind": "tiles", "sizes": [100], "resize": "longest", "without_regions": "fail"}
GIVEN = {"kind": "boxes", "column": "faces", "labels": "who", "without_regions": "fail"}


def options(**given: Any) -> RegionOptions:
    made: RegionOptions = TypeAdapter(RegionOptions).validate_python(given)
    return made


def test_options_are_read_back_from_whichever_operator_recorded_them() -> None:
    for name, given in (("decode", CUT), ("embed", {"kind": "patches", "cells": 3}), ("crop", GIVEN)):
        record = {"decode": {"decoder": 1}, "normalize": {}, name: {"regions": options(**given).record()}}
        assert regions_of(record) == options(**given)
    assert regions_of({"decode": {"decoder": 1}, "imported": "x regions"}) is None


@pytest.mark.parametrize(
    ("box", "boxes", "fractions"),
    [
        (None, [], False),
        ((3, 4, 50, 60), [[3, 4, 50, 60]], False),
        ((0.5, 0.25, 1.0, 1.0), [[0.5, 0.25, 1.0, 1.0]], True),
        ((0, 0, 1.5, 1), [[0, 0, 1.5, 1]], False),
    ],
)
def test_one_box_is_made_as_the_tables_regions_were(box: Box | None, boxes: Any, fractions: bool) -> None:
    cut, given = query_regions(options(**CUT), box)
    assert cut == BoxesOptions(kind="boxes", column=QUERY_BOX, normalized=fractions, resize="longest")
    assert given == {QUERY_BOX: boxes}
    pooled, given = query_regions(options(kind="patches", cells=3), box)
    assert pooled == PatchesOptions(kind="patches", column=QUERY_BOX, normalized=fractions)
    assert given == {QUERY_BOX: boxes}


def test_a_row_an_image_is_asked_with_all_regions_or_with_one_box() -> None:
    own, given = query_regions(options(**CUT, layout="multivector"), None)
    assert (own, given) == (options(**CUT | {"layout": "multivector", "without_regions": "whole"}), {})
    own, given = query_regions(options(**GIVEN, layout="multivector"), None)
    assert (own.without_regions, given) == ("whole", {"faces": None, "who": None})
    one, given = query_regions(options(**CUT, layout="multivector"), (0, 0, 9, 9))
    assert (one.kind, one.layout, given) == ("boxes", "multivector", {QUERY_BOX: [[0, 0, 9, 9]]})


def test_in_a_table_without_regions_a_box_is_an_image_of_its_own() -> None:
    assert query_regions(None, None) == (None, {})
    cut, given = query_regions(None, (0.1, 0, 0.5, 1), "shortest")
    assert cut == BoxesOptions(kind="boxes", column=QUERY_BOX, normalized=True, resize="shortest")
    assert given == {QUERY_BOX: [[0.1, 0, 0.5, 1]]}
    pixels, _ = query_regions(None, (0, 0, 30, 40))
    assert isinstance(pixels, BoxesOptions)
    assert not pixels.normalized


def test_a_box_as_text() -> None:
    assert split_box("1,2.5, 3,4") == (1, 2.5, 3, 4)
    assert box_text((1, 2.5, 3, 4)) == "1,2.5,3,4"
    assert split_box((1, 2, 3, 4)) == (1, 2, 3, 4)
    for text in ("1,2,3", "1,2,3,4,5", "a,b,c,d", ""):
        with pytest.raises(ValueError, match=r"is not four numbers x0,y0,x1,y1"):
            split_box(text)


def test_the_region_that_is_nearest_to_any_vector_of_the_query() -> None:
    field = vector_field(2, pa.float32())
    lists = [[[1, 0], [0, 1]], [[0.6, 0.8]], [[-1, 0], [0, -1], [0.8, 0.6]]]
    regions = [[{"kind": "grid", "index": index} for index in range(len(each))] for each in lists]
    vectors = pa.array(lists, pa.list_(field.type))
    rows = pa.table([vectors, pa.array(regions, REGIONS.type)], names=["vector", "regions"])
    column = search_column(pa.field("vector", vectors.type))
    asked = {(0.0, 1.0): [1, 0, 2], (1.0, 0.0): [0, 0, 2], (0.0, -1.0): [0, 0, 1]}
    for query, expected in asked.items():
        found = best_regions(column, np.array([query], np.float32), rows)
        assert [region["index"] for region in found] == expected
    both = best_regions(column, np.array([[0, 1], [0, -1]], np.float32), rows)
    assert [region["index"] for region in both] == [1, 0, 1]
    assert best_regions(column, np.array([[0, 1]], np.float32), rows.slice(1))[0]["index"] == 0
