"""Columns that settings name are kept columns of the source, each once, behind those that are kept already."""

from typing import Any

import pytest

from jobs.config.keep_columns import keep_named


def test_named_columns_join_those_that_are_kept() -> None:
    values = {"source": {"uri": "m.csv", "keep": ["title", "shop"]}, "label": "kind", "group": "shop", "captions": None}
    kept = keep_named(values, ("label", "captions", "group"))
    assert kept["source"] == {"uri": "m.csv", "keep": ["title", "shop", "kind"]}
    assert values["source"] == {"uri": "m.csv", "keep": ["title", "shop"]}


def test_one_column_of_two_settings_is_kept_once() -> None:
    kept = keep_named({"source": {}, "label": "kind", "group": "kind"}, ("label", "group"))
    assert kept["source"]["keep"] == ["kind"]


@pytest.mark.parametrize("values", [None, "m.csv", {}, {"source": "m.csv", "label": "kind"}])
def test_what_is_not_settings_is_left_to_the_check_of_settings(values: Any) -> None:
    assert keep_named(values, ("label",)) is values
