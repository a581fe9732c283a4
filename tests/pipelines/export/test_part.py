"""The version of a table that an export reads."""

from pathlib import Path

import pytest

from operators.base.errors import UserError
from pipelines.export.part import open_version
from pipelines.table.table import Table


def test_a_table_that_is_gone_is_no_version_that_was_cleaned_up(tmp_path: Path) -> None:
    """Whatever its folder is called: a version is known to be gone by these words of Lance's."""
    with pytest.raises(UserError, match="there is none at"):
        open_version(Table.of(f"{tmp_path}/not found/photos"), 1)
