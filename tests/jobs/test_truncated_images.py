"""What docs/failures.md says of truncated images can be done: another table takes those that failed."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from jobs.embed import EmbedConfig, run
from jobs.failures import FailuresConfig
from jobs.failures import run as failures
from operators.base.errors import UserError


def config(source: dict[str, str], table: Path, **others: Any) -> EmbedConfig:
    base = {"source": source, "table": str(table), "model": {"name": "null"}, "cluster": {"executor": "local"}}
    return EmbedConfig.model_validate({**base, **others})


def test_truncated_images_go_into_a_table_of_their_own(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (2, 64, 64, 3), dtype=np.uint8)
    folder = tmp_path / "images"
    folder.mkdir()
    for name, each in zip("ab", pixels, strict=True):
        Image.fromarray(each).save(folder / f"{name}.jpg")
    cut = folder / "b.jpg"
    cut.write_bytes(cut.read_bytes()[:2000])
    report = run(config({"uri": str(folder)}, tmp_path / "lake" / "t"))
    assert (report.vectors, report.failures) == (1, 1)
    allowed = {"decode": {"allow_truncated": True}}
    with pytest.raises(UserError, match=r"into a table of their own: docs/failures\.md"):
        run(config({"uri": str(folder)}, tmp_path / "lake" / "t", retry_failed="truncated", **allowed))
    rows = failures(FailuresConfig(table=str(tmp_path / "lake" / "t"))).rows
    manifest = tmp_path / "truncated.jsonl"
    manifest.write_text("".join(json.dumps({name: row[name] for name in ("id", "uri")}) + "\n" for row in rows))
    report = run(config({"uri": str(manifest), "id_column": "id"}, tmp_path / "lake" / "cut", **allowed))
    assert (report.vectors, report.failures) == (1, 0)
