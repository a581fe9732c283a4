"""Pictures of a table whose images lie within tars or Parquet files, as `serve` and `report` make them."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from jobs.config.load import load_config
from jobs.embed import load
from jobs.embed import run as embed
from jobs.report import ReportConfig
from jobs.report import run as report
from jobs.serve import ServeConfig, _pictures
from jobs.web.rows import picture_row
from made.parquet_images import write_images
from made.solid_images import colour_of
from made.tars import make_tars
from pipelines.pictures.make import NoPictureError


@pytest.mark.parametrize("kind", ["tars", "parquet"])
def test_rows_have_the_pictures_of_their_own_images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    folder = tmp_path / "images"
    made_of = {
        "tars": lambda: make_tars(folder, 9, 5),
        "parquet": lambda: write_images(folder / "a.parquet", range(9), group_rows=4),
    }
    expected = made_of[kind]()
    table = str(tmp_path / "lake" / "t")
    base = {
        "source": {"uri": str(folder)},
        "table": table,
        "model": {"name": "null"},
        "cluster": {"executor": "local"},
        "decode": {"isolate": False},
    }
    assert embed(load(base=base)).status == "complete"
    made = report(load_config(ReportConfig, base={"table": table, "out": str(tmp_path / "page.html")}))
    assert (made.pictures, made.no_picture) == (9, {})
    numbers = {each.uri: each.number for each in expected}
    config = load_config(ServeConfig, base={"table": table})
    dataset, pictures = config.stored.latest(), _pictures(config)
    for row in (0, 5, 8):
        found = picture_row(dataset, row)
        picture = Image.open(io.BytesIO(pictures.of_row(found, "small"))).convert("RGB")
        assert np.allclose(np.asarray(picture).mean((0, 1)), colour_of(numbers[found.uri]), atol=4)
        image = Image.open(io.BytesIO(pictures.bytes_of(found))).convert("RGB")
        assert image.getpixel((0, 0)) == colour_of(numbers[found.uri])
    pictures.close()
    for file in folder.iterdir():
        file.unlink()
    again = _pictures(config)
    with pytest.raises(NoPictureError, match=r"no such file|is not known"):
        again.of_row(picture_row(dataset, 1), "small")
    again.close()
