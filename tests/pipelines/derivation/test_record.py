"""What making a column took is added up over runs, beside whatever else is noted of the table."""

from pathlib import Path

import lance
import pyarrow as pa
import pytest

from operators.storage.stores import NO_OPTIONS
from pipelines.derivation.record import DERIVED_PREFIX, NOTHING, DeriveRecord, add_to_derive_record, read_derive_record
from pipelines.table import publish
from pipelines.table.errors import CommitFailedError
from pipelines.table.publish import update_table_metadata
from pipelines.table.table import Table


def test_runs_are_added_up_and_other_notes_are_kept(tmp_path: Path) -> None:
    uri = str(tmp_path / "t.lance")
    lance.write_dataset(pa.table({"n": [1]}), uri)
    update_table_metadata(uri, {"by": "hand"}, NO_OPTIONS)
    assert read_derive_record(lance.dataset(uri), "vector_8") is None
    add_to_derive_record(Table.of(uri), "vector_8", NOTHING, 100, 1.25)
    first = read_derive_record(lance.dataset(uri), "vector_8")
    assert first == DeriveRecord(rows=100, seconds=1.25)
    add_to_derive_record(Table.of(uri), "vector_8", first, 20, 0.5)
    assert read_derive_record(lance.dataset(uri), "vector_8") == DeriveRecord(rows=120, seconds=1.75)
    assert read_derive_record(lance.dataset(uri), "vector_16") is None
    assert lance.dataset(uri).metadata["by"] == "hand"


def test_storage_that_fails_costs_the_figure_alone_and_a_damaged_one_is_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    uri = str(tmp_path / "t.lance")
    lance.write_dataset(pa.table({"n": [1]}), uri)
    transactions = tmp_path / "t.lance" / "_transactions"
    transactions.rename(tmp_path / "aside")
    transactions.write_text("where a folder must be")
    monkeypatch.setattr(publish, "LONGEST_PAUSE_S", 0.0)
    with pytest.raises(CommitFailedError, match=r"not committed in 10 attempts: .*File exists"):
        update_table_metadata(uri, {"by": "hand"}, NO_OPTIONS)
    add_to_derive_record(Table.of(uri), "vector_8", NOTHING, 1, 1.0)
    assert read_derive_record(lance.dataset(uri), "vector_8") is None
    transactions.unlink()
    update_table_metadata(uri, {DERIVED_PREFIX + "vector_8": "{}"}, NO_OPTIONS)
    assert read_derive_record(lance.dataset(uri), "vector_8") is None
