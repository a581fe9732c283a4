"""Model swaps from beginning to end, with the null model of other pixels, beside later runs and other writers."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import lance
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from jobs.delete import DeleteConfig
from jobs.delete import run as delete
from jobs.describe import DescribeConfig
from jobs.describe import as_text as described_text
from jobs.describe import run as describe
from jobs.refresh import RefreshConfig
from jobs.refresh import run as refresh
from jobs.search import SearchConfig
from jobs.search import run as search
from jobs.swap import as_text
from made.failpoints_on import failing_at
from made.noisy_photos import SQUASHED, NoisyPhotos
from operators.base.errors import UserError
from pipelines.swap.state import read_swap
from pipelines.table.errors import RefusedError


@pytest.fixture
def photos(tmp_path: Path) -> NoisyPhotos:
    return NoisyPhotos(tmp_path)


def names_of_vectors(photos: NoisyPhotos) -> set[str]:
    return {name for name in photos.dataset.schema.names if name.startswith("vector")}


def test_there_and_back_and_to_the_end(photos: NoisyPhotos) -> None:
    photos.made(10)
    old, new = photos.vectors(), photos.alone(range(10), SQUASHED)
    assert old != new
    report = photos.swap(SQUASHED)
    assert (report.status, report.swap.state) == ("complete", "flipped"), as_text(report)
    assert report.did == ["backfill", "gate", "flip"]
    assert (report.filled_now, report.swap.coverage) == (10, 1.0)
    assert (photos.vectors(), photos.vectors("vector_before")) == (new, old)
    again = photos.swap()
    assert (again.did, again.swap.state) == ([], "flipped")

    back = photos.swap(action="rollback")
    again = photos.swap(action="rollback")
    assert (again.did, again.swap) == ([], back.swap), "killed after its commit, it is started again"
    assert back.swap.state == "rolled_back"
    assert (photos.vectors(), photos.vectors("vector_next")) == (old, new)
    assert photos.swap().swap.state == "flipped"
    assert photos.vectors() == new

    with pytest.raises(RefusedError, match=r"kept for 7 days.*--finish --insist"):
        photos.swap(action="finish")
    finished = photos.swap(action="finish", insist=True)
    assert finished.swap.state == "finished"
    assert names_of_vectors(photos) == {"vector"}
    assert photos.vectors() == new
    assert sorted(path.name for path in (photos.folder / "lake").glob("photos*")) == [
        "photos.lance",
        "photos__failures.lance",
        "photos__runs",
    ]
    with pytest.raises(RefusedError, match="it is finished"):
        photos.swap(action="rollback")


def test_a_days_old_flip_is_finished_without_insisting(photos: NoisyPhotos) -> None:
    photos.made(4)
    photos.swap(SQUASHED)
    assert photos.swap(action="finish", keep_days=0).swap.state == "finished"


def test_a_label_that_is_none_is_said_before_the_backfill(photos: NoisyPhotos) -> None:
    photos.made(4)
    with pytest.raises(UserError, match=r"gates\.label kind: no such column"):
        photos.swap(SQUASHED, gates={"label": "kind"})
    assert names_of_vectors(photos) == {"vector"}


def test_step_by_step_and_a_later_call_goes_on(photos: NoisyPhotos) -> None:
    photos.made(6)
    for to, state in (("backfill", "filled"), ("index", "indexed"), ("gate", "gated")):
        report = photos.swap(SQUASHED, to=to)
        assert (report.status, report.swap.state) == ("complete", state)
    described = describe(DescribeConfig(table=photos.table))
    assert described.swap is not None
    assert described.swap.state == "gated"
    assert "swap       swap-" in described_text(described)
    assert "null to null (preprocess.resize=squash), gated, coverage 1.0000, gates passed" in described_text(described)
    model = [line for line in described_text(described).splitlines() if line.startswith("model ")]
    assert len(model) == 2
    assert "vector_next: null (" in model[1]
    assert "squash" in model[1]
    assert "squash" not in model[0]
    assert photos.swap().did == ["gate", "flip"]


def test_a_search_means_the_live_column_in_every_state(photos: NoisyPhotos) -> None:
    photos.made(6)

    def found() -> tuple[str, float]:
        result = search(SearchConfig(table=photos.table, image=str(photos.folder / "3.png"), k=1))
        return result.column, round(result.results[0]["score"], 2)

    assert found() == ("vector", 1.0)
    photos.swap(SQUASHED, to="backfill")
    assert found() == ("vector", 1.0)
    photos.swap()
    assert found() == ("vector", 1.0)
    photos.swap(action="rollback")
    assert found() == ("vector", 1.0)


def test_later_runs_fill_both_columns_and_take_the_tables_own_model(photos: NoisyPhotos) -> None:
    photos.made(5)
    photos.swap(SQUASHED, to="backfill")
    photos.embed(range(5, 8), name="second", model={"name": "null"})
    both = photos.alone(range(11)), photos.alone(range(11), SQUASHED, name="squashed")
    assert photos.swap().filled_now == 0
    photos.embed(range(8, 11), name="third")
    assert (photos.vectors("vector_before"), photos.vectors()) == both
    with pytest.raises(RefusedError, match=r"vector was swapped from null to null \(preprocess.resize=squash\) at 20"):
        photos.embed(range(11, 12), name="fourth", model={"name": "null"})
    photos.swap(action="rollback")
    assert (photos.vectors(), photos.vectors("vector_next")) == both
    photos.embed(range(11, 12), name="fourth", model={"name": "null"})
    photos.swap(action="abandon")
    photos.embed(range(12, 13), name="fifth")
    assert names_of_vectors(photos) == {"vector"}
    assert photos.vectors() == photos.alone(range(13), name="all")


def test_an_image_that_is_gone_or_changed_keeps_its_old_vector_and_is_told(photos: NoisyPhotos) -> None:
    photos.made(8)
    old = photos.vectors()
    (photos.folder / "2.png").unlink()
    (photos.folder / "4.png").write_text("no image any more")
    photos.draw(6, version=1)
    report = photos.swap(SQUASHED)
    assert report.status == "gate_failed"
    assert report.gates is not None
    assert report.gates.failed == ["coverage"]
    assert report.swap.unfilled == {"not_found": 1, "unsupported_format": 1, "changed": 1}
    assert report.examples == {"not_found": ["i2"], "unsupported_format": ["i4"], "changed": ["i6"]}
    assert "unfilled   changed: 1 row has no new vector (i6)" in as_text(report)
    assert f"`pixlake swap {photos.table} --insist`" in report.message
    assert photos.vectors() == old
    photos.draw(2)
    again = photos.swap("gates.min_coverage=0.7")
    assert (again.swap.state, again.filled_now) == ("flipped", 1)
    assert photos.vectors("vector_before") == old
    assert {name for name, vector in photos.vectors().items() if vector is None} == {"i4", "i6"}


def test_a_gate_is_insisted_on_and_that_is_recorded(photos: NoisyPhotos) -> None:
    photos.made(5)
    (photos.folder / "2.png").unlink()
    assert photos.swap(SQUASHED).status == "gate_failed"
    report = photos.swap(insist=True)
    assert (report.status, report.swap.state, report.swap.insisted) == ("complete", "flipped", ("coverage",))
    assert photos.vectors()["i2"] is None
    photos.draw(2)
    again = photos.swap()
    assert (again.did, again.swap.state, again.filled_now, again.swap.unfilled) == (["backfill"], "flipped", 1, {})
    assert photos.vectors() == photos.alone(range(5), SQUASHED)


OTHERS: dict[str, Callable[[Any], Any]] = {
    "compaction": lambda dataset: dataset.optimize.compact_files(target_rows_per_fragment=1000),
    "update": lambda dataset: dataset.update({"format": "'x'"}, where="id = 'i3'"),
    "delete": lambda dataset: dataset.delete("id = 'i3'"),
}


@pytest.mark.parametrize("what", OTHERS)
def test_what_other_tools_do_after_the_backfill_is_made_good_before_the_flip(photos: NoisyPhotos, what: str) -> None:
    photos.made(8)
    new = photos.alone(range(8), SQUASHED)
    photos.swap(SQUASHED, to="backfill")
    OTHERS[what](photos.dataset)
    assert photos.swap().swap.state == "flipped"
    assert photos.vectors() == {name: each for name, each in new.items() if what != "delete" or name != "i3"}


def test_a_column_that_another_tool_has_renamed_is_told_and_nothing_is_changed(photos: NoisyPhotos) -> None:
    def renamed(name: str, other: str) -> None:
        photos.dataset.alter_columns({"path": name, "name": other})

    photos.made(4)
    old = photos.vectors()
    photos.swap(SQUASHED, to="gate")
    renamed("vector_next", "mine")
    with pytest.raises(RefusedError, match="the column vector_next of its swap is not there"):
        photos.swap()
    renamed("mine", "vector_next")
    assert photos.swap().swap.state == "flipped"
    renamed("vector_before", "mine")
    with pytest.raises(RefusedError, match="the column vector_before of its swap is not there"):
        photos.swap(action="rollback")
    described = describe(DescribeConfig(table=photos.table)).swap
    assert described is not None
    assert described.state == "flipped"
    renamed("mine", "vector_before")
    assert photos.swap(action="rollback").swap.state == "rolled_back"
    assert photos.vectors() == old


@pytest.mark.parametrize("layout", ["rows", "multivector"])
def test_regions_are_swapped_each_to_its_own(photos: NoisyPhotos, layout: str) -> None:
    regions = f"regions={{kind: grid, rows: 2, columns: 2, layout: {layout}}}"
    photos.made(6, regions)
    sort = {"rows": "region_id", "multivector": "id"}[layout]

    def held(table: str, column: str = "vector") -> Any:
        rows = lance.dataset(f"{table}.lance").to_table(columns=[sort, column]).sort_by(sort)
        return rows[column].to_pylist()

    photos.alone(range(6), regions, SQUASHED)
    old, new = held(photos.table), held(f"{photos.folder}/lake/alone")
    assert photos.swap(SQUASHED).filled_now == len(old)
    assert (held(photos.table), held(photos.table, "vector_before")) == (new, old)


def test_an_index_of_the_old_column_has_one_beside_it_and_both_follow_their_columns(photos: NoisyPhotos) -> None:
    from jobs.index import IndexConfig
    from jobs.index import run as index

    photos.made(20)
    base = {"table": photos.table, "type": "IVF_FLAT", "num_partitions": 2, "cluster": {"executor": "local"}}
    index(IndexConfig.model_validate(base))
    report = photos.swap(SQUASHED)
    assert report.did == ["backfill", "index", "gate", "flip"], as_text(report)

    def indexed() -> dict[str, str]:
        described = describe(DescribeConfig(table=photos.table)).vector_columns
        return {name: each.index.name[:11] for name, each in described.items() if each.index}

    assert indexed() == {"vector": "vector_next", "vector_before": "vector_ivf_"}
    result = search(SearchConfig(table=photos.table, image=str(photos.folder / "3.png"), k=1))
    assert (result.index or "").startswith("vector_next")
    assert result.results[0]["id"] == "i3"
    photos.swap(action="rollback")
    assert indexed() == {"vector_next": "vector_next", "vector": "vector_ivf_"}
    photos.swap(action="abandon")
    assert indexed() == {"vector": "vector_ivf_"}


def test_derived_columns_go_along_and_what_would_be_lost_is_refused(photos: NoisyPhotos) -> None:
    from jobs.reduce import ReduceConfig
    from jobs.reduce import run as reduce

    photos.made(8)

    def derive(column: str, base: str) -> None:
        options = {"column": column, "base": base, "truncate_dim": 8, "allow_untrained_truncation": True}
        reduce(ReduceConfig.model_validate({"table": photos.table, "cluster": {"executor": "local"}, **options}))

    derive("vector_8", "vector")
    with pytest.raises(RefusedError, match="vector_8 is made of vector, and nothing called vector_8_next"):
        photos.swap(SQUASHED)
    with failing_at("derive.added"), pytest.raises(OSError, match="derive"):
        derive("vector_8_next", "vector_next")
    with pytest.raises(RefusedError, match=r"vector_8_next is empty in 8 rows where vector_8 is not .*start it again"):
        photos.swap()
    derive("vector_8_next", "vector_next")
    old, new = photos.vectors("vector_8"), photos.vectors("vector_8_next")
    photos.swap()
    assert (photos.vectors("vector_8"), photos.vectors("vector_8_before")) == (new, old)

    def bases() -> dict[str, str]:
        described = describe(DescribeConfig(table=photos.table)).vector_columns
        return {name: each.derived.base for name, each in described.items() if each.derived}

    assert bases() == {"vector_8": "vector", "vector_8_before": "vector_before"}
    photos.embed(range(8, 9), name="second")
    assert all(vector is not None for name in bases() for vector in photos.vectors(name).values())
    photos.swap(action="rollback")
    assert bases() == {"vector_8": "vector", "vector_8_next": "vector_next"}
    assert {name: photos.vectors("vector_8")[name] for name in old} == old
    photos.swap()
    photos.swap(action="finish", insist=True)
    assert bases() == {"vector_8": "vector"}


def test_what_cannot_be_swapped_is_refused_and_nothing_is_changed(photos: NoisyPhotos) -> None:
    photos.made(3)
    before = photos.dataset.version
    with pytest.raises(RefusedError, match="name the new model with --model"):
        photos.swap()
    with pytest.raises(RefusedError, match="of this very model and these settings already"):
        photos.swap(model={"name": "null"})
    with pytest.raises(UserError, match="--column other is no vector column"):
        photos.swap(SQUASHED, column="other")
    with pytest.raises(RefusedError, match="no swap is on"):
        photos.swap(action="rollback")
    assert photos.dataset.version == before
    photos.swap(SQUASHED, to="backfill")
    with pytest.raises(RefusedError, match="begin another beside the swap"):
        photos.swap("model.preprocess.resize=longest")
    with pytest.raises(RefusedError, match="cannot finish the swap"):
        photos.swap(action="finish")
    photos.swap(action="abandon")
    assert photos.swap("model.preprocess.resize=longest", to="backfill").swap.state == "filled"


def refreshed(photos: NoisyPhotos, **given: Any) -> None:
    values = {"table": photos.table, "max_deleted": 1, "upkeep": False, **given}
    report = refresh(RefreshConfig.model_validate(values))
    assert report.status == "complete", report.message


def test_what_a_refresh_has_filled_since_the_backfill_is_not_counted_as_lacking(photos: NoisyPhotos) -> None:
    for number in range(5):
        photos.draw(number)
    photos.embed_folder()
    photos.draw(3, version=1)
    assert photos.swap(SQUASHED, to="backfill").swap.unfilled == {"changed": 1}
    photos.draw(5)
    refreshed(photos)
    report = photos.swap()
    assert (report.swap.state, report.swap.rows, report.swap.unfilled) == ("flipped", 6, {}), as_text(report)
    assert "coverage   1.0000 of 6 live rows" in as_text(report)


def test_an_image_that_is_back_while_the_gates_are_measured_is_filled_before_the_flip(
    photos: NoisyPhotos, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(5):
        photos.draw(number)
    photos.embed_folder()
    (photos.folder / "2.png").rename(photos.folder / "away")
    refreshed(photos)
    assert photos.swap(SQUASHED, to="index").swap.unfilled == {}
    real = lance.LanceDataset.commit

    def commit(*arguments: Any, **given: Any) -> Any:
        """The first of this call says what the gates gave."""
        monkeypatch.setattr(lance.LanceDataset, "commit", staticmethod(real))
        (photos.folder / "away").rename(photos.folder / "2.png")
        refreshed(photos)
        return real(*arguments, **given)

    monkeypatch.setattr(lance.LanceDataset, "commit", staticmethod(commit))
    report = photos.swap()
    assert (report.swap.state, report.swap.rows, report.swap.unfilled) == ("flipped", 5, {}), as_text(report)
    assert None not in photos.vectors().values()


def test_refreshes_keep_both_columns_full_in_every_state(photos: NoisyPhotos) -> None:
    for number in range(6):
        photos.draw(number)
    photos.embed_folder()

    def refreshed(*gone: int, added: int, changed: int) -> None:
        for number in gone:
            (photos.folder / f"{number}.png").unlink()
        photos.draw(added)
        photos.draw(changed, version=1)
        report = refresh(RefreshConfig.model_validate({"table": photos.table, "deleted": "drop", "max_deleted": 1}))
        assert report.status == "complete", report.message

    def rows(column: str) -> dict[str, Any]:
        """URI -> vector, of the images that are there."""
        found = photos.dataset.to_table(columns=["uri", column]).to_pylist()
        return {row["uri"]: row[column] for row in found}

    def alone(*sets: str) -> dict[str, Any]:
        other = NoisyPhotos(photos.folder)
        other.table = f"{photos.folder}/lake/alone"
        other.embed_folder(*sets, overwrite=1)
        return {row["uri"]: row["vector"] for row in other.dataset.to_table(columns=["uri", "vector"]).to_pylist()}

    photos.swap(SQUASHED, to="backfill")
    refreshed(0, added=6, changed=1)
    assert (rows("vector"), rows("vector_next")) == (alone(), alone(SQUASHED))
    photos.swap()
    refreshed(2, added=7, changed=3)
    assert (rows("vector_before"), rows("vector")) == (alone(), alone(SQUASHED))
    photos.swap(action="rollback")
    refreshed(4, added=8, changed=5)
    assert (rows("vector"), rows("vector_next")) == (alone(), alone(SQUASHED))
    photos.swap()
    photos.swap(action="finish", insist=True)
    refreshed(6, added=9, changed=7)
    assert rows("vector") == alone(SQUASHED)


@pytest.mark.parametrize(
    ("name", "deleted"), [("2.png", "mark"), ("under another name.png", "mark"), ("2.png", "keep"), ("2.png", None)]
)
def test_an_image_that_was_gone_during_a_swap_gets_a_new_vector_when_it_is_back(
    photos: NoisyPhotos, name: str, deleted: str | None
) -> None:
    """Whatever became of its row: with None no refresh has seen that it was gone."""
    for number in range(6):
        photos.draw(number)
    photos.embed_folder()
    (photos.folder / "2.png").rename(photos.folder / "away")

    def refreshed(deleted: str = "mark") -> None:
        given = {"table": photos.table, "max_deleted": 1, "deleted": deleted}
        report = refresh(RefreshConfig.model_validate(given))
        assert report.status == "complete", report.message

    if deleted is not None:
        refreshed(deleted)
    photos.swap(SQUASHED, insist=True)
    photos.swap(action="finish", insist=True)
    (photos.folder / "away").rename(photos.folder / name)
    refreshed()
    swap = read_swap(photos.dataset.metadata)
    assert swap is not None
    assert swap.unfilled == {}, "as it is counted until then"
    other = NoisyPhotos(photos.folder)
    other.table = f"{photos.folder}/lake/alone"
    other.embed_folder(SQUASHED)
    columns = ["uri", "vector"]
    expected = {row["uri"]: row["vector"] for row in other.dataset.to_table(columns=columns).to_pylist()}
    live = "deleted_at IS NULL" if "deleted_at" in photos.dataset.schema.names else None
    found = photos.dataset.to_table(columns=columns, filter=live).to_pylist()
    assert {row["uri"]: row["vector"] for row in found} == expected


def test_images_that_no_uri_of_a_row_leads_to_come_from_a_source(photos: NoisyPhotos) -> None:
    images = [(photos.folder / f"{number}.png", photos.draw(number))[0].read_bytes() for number in range(5)]
    rows = pa.table({"id": [f"i{number}" for number in range(5)], "image": pa.array(images, pa.binary())})
    source = str(photos.folder / "images.parquet")
    pq.write_table(rows, source)
    held = {"uri": source, "id_column": "id", "bytes_column": "image"}
    photos.embed_source(held)
    report = photos.swap(SQUASHED)
    assert (report.status, sum(report.swap.unfilled.values())) == ("gate_failed", 5), report.swap.unfilled
    assert "none of the images could be had by the URIs that the table records" in as_text(report)
    report = photos.swap(images=held)
    # The gates find images within files by the positions of their rows.
    [quality] = [each for each in report.gates.gates if each.name == "quality.copies_found"]  # type: ignore[union-attr]
    assert (quality.rows, quality.passed) == (3, True), quality.how
    assert (report.status, report.swap.state, report.filled_now) == ("complete", "flipped", 5)
    assert photos.vectors() == photos.alone(range(5), SQUASHED)


def test_a_table_restored_to_a_state_before_a_swap_can_begin_another(photos: NoisyPhotos) -> None:
    photos.made(4)
    before = photos.dataset.version
    photos.swap(SQUASHED, to="backfill")
    assert describe(DescribeConfig(table=photos.table)).notices == []
    photos.dataset.checkout_version(before).restore()
    [notice] = describe(DescribeConfig(table=photos.table)).notices
    assert "photos__swap is left over of a swap of which this state of the table" in notice
    assert f"The next `pixlake swap {photos.table}` drops it" in notice
    with pytest.raises(RefusedError, match=r"no swap is on; .*photos__swap is left over"):
        photos.swap(action="abandon")
    assert photos.swap("model.preprocess.resize=longest", insist=True).swap.state == "flipped"
    assert photos.vectors() == photos.alone(range(4), "model.preprocess.resize=longest")


def test_a_table_restored_to_a_state_before_a_swap_is_refreshed_by_the_model_it_had(photos: NoisyPhotos) -> None:
    for number in range(3):
        photos.draw(number)
    photos.embed_folder()
    before = photos.dataset.version
    photos.swap(SQUASHED)
    photos.draw(3)
    refreshing = RefreshConfig.model_validate({"table": photos.table, "upkeep": False})
    assert refresh(refreshing).status == "complete"
    photos.dataset.checkout_version(before).restore()
    assert refresh(refreshing).status == "complete"
    there = photos.dataset.to_table(columns=["uri", "vector"])
    photos.table += "_alone"
    photos.embed_folder()
    assert there.sort_by("uri") == photos.dataset.to_table(columns=["uri", "vector"]).sort_by("uri")


def test_a_table_restored_into_a_swap_gets_no_vector_of_a_later_one(photos: NoisyPhotos) -> None:
    photos.made(6)
    with failing_at("swap.embedded"), pytest.raises(OSError, match="failpoint"):
        photos.swap(SQUASHED)
    within = photos.dataset.version
    photos.swap(action="abandon")
    photos.swap("model.preprocess.resize=longest", to="backfill")
    photos.dataset.checkout_version(within).restore()
    for given in ({}, {"action": "bridge"}):
        with pytest.raises(RefusedError, match=r"from within it. `pixlake swap .* --abandon` ends it"):
            photos.swap(**given)
    assert set(photos.vectors("vector_next").values()) == {None}
    assert photos.swap(action="abandon").swap.state == "abandoned"
    assert photos.swap(SQUASHED).swap.state == "flipped"
    assert photos.vectors() == photos.alone(range(6), SQUASHED)


def test_a_table_of_the_users_own_is_not_taken_for_one_of_a_swap(photos: NoisyPhotos) -> None:
    photos.made(4)
    other = NoisyPhotos(photos.folder)
    other.table = f"{photos.table}__swap"
    other.made(4)
    assert describe(DescribeConfig(table=photos.table)).notices == []
    with pytest.raises(RefusedError, match=r'photos__swap\.lance is there.*drop_table\("photos__swap"\)'):
        photos.swap(SQUASHED)
    assert len(other.vectors()) == 4


def test_an_image_taken_down_meanwhile_is_out_of_the_side_table_too(photos: NoisyPhotos) -> None:
    photos.made(6)
    photos.swap(SQUASHED, to="backfill")
    delete(DeleteConfig(table=photos.table, id=("i2", "i4")))
    side = f"{photos.table}__swap"
    assert sorted(photos.vectors(table=side)) == ["i0", "i1", "i3", "i5"]
    assert photos.swap().swap.state == "flipped"
    assert sorted(photos.vectors()) == sorted(photos.vectors(table=side)) == ["i0", "i1", "i3", "i5"]
    photos.swap(action="finish", insist=True)
    assert not list((photos.folder / "lake").glob("photos__swap*"))
