"""Photographs as files, written once a session."""

from pathlib import Path

import pytest

from made.photographs import write_photographs


@pytest.fixture(scope="session")
def photographs(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return write_photographs(tmp_path_factory.mktemp("photographs"))
