"""Columns that an embed job derives itself."""

from pathlib import Path

import pytest

from jobs.embed import load, plan
from operators.base.errors import UserError


@pytest.mark.parametrize(
    ("base", "is_what"), [("half", "is derived itself"), ("label", "is no vector column")], ids=["derived", "other"]
)
def test_what_it_is_derived_from_must_be_the_column_of_a_model(base: str, is_what: str, tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_text("a.jpg\n")
    given = {
        "source": {"uri": str(tmp_path / "list.txt")},
        "table": str(tmp_path / "t"),
        "model": {"name": "null"},
        "reduce": {"half": {"quantize": "float16"}, "bits": {"base": base, "quantize": "binary"}},
    }
    with pytest.raises(UserError, match=rf"^reduce\.bits: base {base} {is_what}; columns of models: vector$"):
        plan(load(base=given))
