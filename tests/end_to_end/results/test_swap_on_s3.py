"""A swap of a table in a bucket: the side table, its manifests and all that is dropped lie there too."""

from pathlib import Path
from typing import Any

import lance
import pytest

from jobs.config.load import load_config
from jobs.embed import load
from jobs.embed import run as embed
from jobs.swap import SwapConfig
from jobs.swap import run as swap
from made.noisy_photos import GATES, SETTINGS, SQUASHED, NoisyPhotos
from made.tables import lance_s3
from operators.storage.stores import StorageOptions, filesystem


@pytest.mark.s3
def test_there_and_finished(s3: Any, tmp_path: Path) -> None:
    photos, bucket = NoisyPhotos(tmp_path), s3.bucket("swapped")
    for number in range(6):
        photos.draw(number)
    table = f"s3://{bucket}/lake/photos"
    options = lance_s3(s3.storage_options)
    embed(
        load(
            sets=(*SETTINGS, "decode.isolate=false"),
            base={
                "source": {"uri": f"{tmp_path}/*.png"},
                "table": table,
                "model": {"name": "null"},
                "storage": s3.storage_options,
            },
        )
    )

    def go(*sets: str, **given: Any) -> str:
        base = {"table": table, "storage": s3.storage_options, **given}
        return swap(load_config(SwapConfig, sets=(*SETTINGS, *GATES, *sets), base=base)).swap.state

    def held(column: str) -> list[Any]:
        rows = lance.dataset(f"{table}.lance", storage_options=options).to_table(columns=["id", column])
        return rows.sort_by("id")[column].to_pylist()

    old = held("vector")
    assert go(SQUASHED) == "flipped"
    assert held("vector_before") == old
    assert None not in held("vector")
    assert held("vector") != old
    assert go(action="rollback") == "rolled_back"
    assert held("vector") == old
    assert go() == "flipped"
    assert go(action="finish", insist=True) == "finished"
    store, root = filesystem(f"s3://{bucket}/lake", StorageOptions.model_validate(s3.storage_options))
    names = sorted({path.removeprefix(f"{root}/").split("/")[0] for path in store.find(root)})
    assert names == ["photos.lance", "photos__failures.lance", "photos__runs"]
