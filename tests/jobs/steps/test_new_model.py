"""Where a new model goes must be said, and the error says how."""

import pytest
from pydantic import BaseModel, ValidationError

from jobs.steps.new_model import NewModelFolder


class Holder(BaseModel):
    out: NewModelFolder


@pytest.mark.parametrize("given", [{}, {"out": ""}])
def test_without_a_name_both_ways_to_give_one_are_said(given: dict[str, str]) -> None:
    with pytest.raises(ValidationError, match=r"--name NAME, for \./lake/models/NAME, or its whole folder with --out"):
        Holder(**given)


def test_a_folder_is_kept_as_given() -> None:
    assert Holder(out="s3://bucket/models/a").out == "s3://bucket/models/a"
