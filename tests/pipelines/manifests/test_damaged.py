"""Damaged manifests: rows, or an error that says which file and what is wrong; never another one.

The long form is `make fuzz`. What it found is kept here, as what was done to which file.
"""

import io
import shutil
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from made.damaged import KINDS, Damage, damaged
from made.damaged_manifests import read, whole_manifests
from pipelines.manifests.parquet import DAMAGE, is_damage

FOUND = (
    ("rows.parquet", Damage("chunk", 0.0254458609934608, 1206)),
    ("rows.parquet", Damage("word little", 0.0617972941915782, 2757)),
    ("rows.parquet", Damage("short big", 0.4639754673398149, 22386)),
    ("rows.parquet", Damage("word little", 0.00991696335987402, 47079)),
)
"""Each ended a run in a traceback."""
DAMAGES = st.builds(Damage, st.sampled_from(sorted(KINDS)), st.floats(0, 1, exclude_max=True), st.integers(0, 1 << 16))


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path / "one"
    shutil.rmtree(tmp_path / "one", ignore_errors=True)


@pytest.mark.parametrize("name", whole_manifests())
def test_whole_ones_are_read(name: str, folder: Path) -> None:
    assert len(read(folder, name, whole_manifests()[name])) == (4 if name == "rows.tar" else 12)


@pytest.mark.parametrize(("name", "damage"), FOUND)
def test_what_was_found_is_told(name: str, damage: Damage, folder: Path) -> None:
    told = read(folder, name, damaged(whole_manifests()[name], (damage,)))
    assert isinstance(told, str)
    assert name in told
    assert "write" in told


@settings(max_examples=80, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(name=st.sampled_from(sorted(whole_manifests())), damages=st.lists(DAMAGES, min_size=1, max_size=3))
def test_any_damage_gives_rows_or_words(name: str, damages: list[Damage], folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    found = read(folder, name, damaged(whole_manifests()[name], tuple(damages)))
    if isinstance(found, str):
        assert name in found


class Failing(io.BytesIO):
    """Storage that fails behind the first reads."""

    def read(self, size: int | None = -1) -> bytes:
        if self.tell() < 1000:
            raise OSError("the connection is gone")
        return super().read(size)


def test_storage_that_fails_is_no_damage() -> None:
    out = io.BytesIO()
    pq.write_table(pa.table({"uri": [f"{n:050d}" for n in range(2000)]}), out, compression="none")
    with pq.ParquetFile(Failing(out.getvalue())) as file, pytest.raises(DAMAGE) as caught:
        next(file.iter_batches())
    assert "the connection is gone" in str(caught.value)
    assert not is_damage(caught.value)
