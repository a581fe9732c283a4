"""From `efficientnet-lite0` to another pooling and another size of it, and back: real weights, a few images."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from jobs.search import SearchConfig
from jobs.search import run as search
from made.noisy_photos import NoisyPhotos
from pipelines.table.errors import RefusedError

SMALLER_AND_GEM = ("model.pooling=gem", "model.preprocess.image_size=160")


def close(one: dict[str, Any], other: dict[str, Any]) -> bool:
    """Whether each vector is the other's but for the rounding of another batch."""
    cosines = [np.dot(np.asarray(one[name], float), np.asarray(other[name], float)) for name in one]
    return one.keys() == other.keys() and min(cosines) > 0.999


def test_there_and_back(tmp_path: Path) -> None:
    photos = NoisyPhotos(tmp_path)
    photos.embed(range(6), model={"name": "efficientnet-lite0"})
    old = photos.vectors()
    # Of six images many a number of a vector is zero in all.
    report = photos.swap(*SMALLER_AND_GEM, "gates.max_constant=1")
    assert (report.status, report.swap.state) == ("complete", "flipped"), report.gates
    assert report.swap.new_model == "efficientnet-lite0 (pooling=gem, preprocess.image_size=160)"
    assert report.gates is not None
    assert {gate.name: gate.passed for gate in report.gates.gates}["canaries"] is True
    alone = NoisyPhotos(tmp_path)
    alone.table = f"{tmp_path}/lake/alone"
    alone.embed(range(6), *SMALLER_AND_GEM, name="alone", model={"name": "efficientnet-lite0"})
    assert close(photos.vectors(), alone.vectors())
    assert not close(photos.vectors(), old)
    found = search(SearchConfig(table=photos.table, image=str(tmp_path / "3.png"), k=1)).results[0]
    assert (found["id"], round(found["score"], 2)) == ("i3", 1.0)

    photos.embed(range(6, 8), name="second")
    with pytest.raises(RefusedError, match="this run names efficientnet-lite0"):
        photos.embed(range(8, 9), "model.pooling=avg", name="third", model={"name": "efficientnet-lite0"})
    photos.swap(action="rollback")
    assert {name: photos.vectors()[name] for name in old} == old
    photos.embed(range(8, 9), name="third")
    assert None not in [*photos.vectors().values(), *photos.vectors("vector_next").values()]
