"""Why there is no row with an id, of a real table."""

from datetime import UTC, datetime
from pathlib import Path

from jobs.delete import DeleteConfig
from jobs.delete import run as delete
from made.photos import Photos
from pipelines.ledger.absent import why_absent
from pipelines.table.table import Table


def test_ids_that_failed_or_were_taken_down_have_a_reason_and_no_others(tmp_path: Path) -> None:
    photos = Photos(tmp_path)
    photos.embed(photos.manifest(range(4), missing=[2, 3]))
    delete(DeleteConfig(table=photos.table, id=("i1", "i3", "nowhere")))
    strangers = [f"stranger{number}" for number in range(1500)]
    found = why_absent(Table.of(photos.table), ["i1", *strangers, "i2", "i3", "nowhere", "o'other"])
    down = f"it was taken down by `pixlake delete` on {datetime.now(UTC):%Y-%m-%d}"
    assert found.pop("i2").startswith(f"its image has failed, {tmp_path}/2.png: fetch, not_found: ")
    assert found == {"i1": down, "i3": down, "nowhere": down}


def test_a_table_that_lost_its_failures_gives_no_reason(tmp_path: Path) -> None:
    assert why_absent(Table.of(f"{tmp_path}/lake/photos"), ["i1"]) == {}
