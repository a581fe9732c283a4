"""A run whose model gives NaN, infinite or zero vectors ends early, and says so."""

from pathlib import Path

import numpy as np
from PIL import Image

from end_to_end.audit import read
from end_to_end.command import embed_here

ROWS, EPOCH = 120, 40


def test_a_model_that_gives_bad_vectors_is_stopped_early_and_goes_on_when_told_to(tmp_path: Path) -> None:
    images, table = tmp_path / "images", f"{tmp_path}/lake/t"
    images.mkdir()
    for number in range(ROWS):
        # The null model's vector of a black image is zero.
        Image.fromarray(np.full((8, 8, 3), 0 if number % 2 else 200, np.uint8)).save(images / f"{number:03d}.png")
    epochs = tuple(
        f"--set={key}" for key in (f"cluster.epoch_rows={EPOCH}", f"source.rows_per_shard={EPOCH}", "reuse=false")
    )
    stopped = embed_here(str(images), table, *epochs, "--json")
    report = stopped.json
    assert (stopped.code, report["status"], report["many_bad_vectors"]) == (4, "failed", True)
    assert (report["vectors"], report["failures"], report["failures_by_class"]) == (20, 20, {"bad_vector": 20})
    assert report["message"].startswith("20 of the 40 vectors of this run were NaN, infinite or zero")

    in_words = embed_here(str(images), table, *epochs)
    assert in_words.code == 4
    assert "--set max_bad_vectors=1 goes on from there" in in_words.out

    ended = embed_here(str(images), table, *epochs, "--set", "max_bad_vectors=1", "--json")
    assert (ended.code, ended.json["status"], ended.json["embedded_now"]) == (0, "complete", ROWS // 2 - 40)
    again = embed_here(str(images), table, *epochs, "--retry-failed", "--json")
    assert (again.code, again.json["status"]) == (0, "complete")
    assert [rows.num_rows for rows in read(table)] == [ROWS // 2, ROWS // 2]
