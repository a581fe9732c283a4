from pathlib import Path
from typing import Any

import pytest

from jobs.add_column import AddColumnConfig, AddColumnReport, as_text, run
from jobs.config.load import load_config
from made.noisy_photos import SETTINGS, SQUASHED, NoisyPhotos
from operators.base.errors import UserError
from pipelines.table.errors import RefusedError


def add(photos: NoisyPhotos, *sets: str, **given: Any) -> AddColumnReport:
    base = {"table": photos.table, **given}
    return run(load_config(AddColumnConfig, sets=(*SETTINGS, *sets), base=base))


def test_a_second_model_stands_beside_the_first_and_later_runs_fill_it(tmp_path: Path) -> None:
    photos = NoisyPhotos(tmp_path).made(6)
    old = photos.vectors()
    report = add(photos, SQUASHED, model={"name": "null"}, name="squashed")
    assert (report.status, report.column, report.filled_now) == ("complete", "vector_squashed", 6)
    assert "vector_squashed of null (preprocess.resize=squash): finished" in as_text(report)
    assert (photos.vectors(), photos.vectors("vector_squashed")) == (old, photos.alone(range(6), SQUASHED))
    assert not list((tmp_path / "lake").glob("photos__swap*"))
    photos.embed(range(6, 8), name="second")
    assert photos.vectors("vector_squashed") == photos.alone(range(8), SQUASHED, name="all")
    assert photos.vectors() == photos.alone(range(8), name="plain")
    add(photos, "model.preprocess.resize=longest", model={"name": "null"}, name="third")
    assert None not in photos.vectors("vector_third").values()


def test_the_same_again_fills_what_has_failed_and_then_does_nothing(tmp_path: Path) -> None:
    photos = NoisyPhotos(tmp_path).made(5)
    (tmp_path / "2.png").unlink()

    def again() -> AddColumnReport:
        return add(photos, SQUASHED, model={"name": "null"}, name="squashed")

    first = again()
    assert first.addition is not None
    assert (first.addition.state, first.addition.unfilled) == ("finished", {"not_found": 1})
    photos.draw(2)
    assert again().filled_now == 1
    assert photos.vectors("vector_squashed") == photos.alone(range(5), SQUASHED)
    version = photos.dataset.version
    assert "is there, and lacks nothing" in as_text(again())
    assert photos.dataset.version == version
    with pytest.raises(RefusedError, match="has a column vector_squashed already, of another model"):
        add(photos, "model.preprocess.resize=longest", model={"name": "null"}, name="squashed")
    with pytest.raises(RefusedError, match="cannot abandon the column"):
        add(photos, abandon=True)


def test_what_cannot_be_added_is_refused(tmp_path: Path) -> None:
    photos = NoisyPhotos(tmp_path).made(3)
    with pytest.raises(UserError, match="name the model to add with --model"):
        add(photos)
    with pytest.raises(UserError, match=r"name: .*'vector' would make a column vector_vector"):
        add(photos, model={"name": "null"}, name="vector")
    with pytest.raises(UserError, match="vector_next is a name that a model swap gives"):
        add(photos, model={"name": "null"}, name="next")
    with pytest.raises(UserError, match="vector_null_before is a name that a model swap gives"):
        add(photos, model={"name": "null"}, name="null_before")
    with pytest.raises(RefusedError, match="no column is being added"):
        add(photos, abandon=True)
    photos.swap(SQUASHED, to="backfill")
    with pytest.raises(RefusedError, match="add another column beside the swap"):
        add(photos, model={"name": "null"}, name="other")
