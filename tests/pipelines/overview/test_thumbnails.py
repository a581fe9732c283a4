"""Small pictures of many images, and why some have none."""

import io
from pathlib import Path

from PIL import Image

from operators.decode import DecodeOptions
from operators.fetching.options import FetchOptions
from pipelines.overview.thumbnails import thumbnails


def test_each_image_gives_a_small_one_of_its_shape_or_a_reason(tmp_path: Path) -> None:
    Image.new("RGB", (400, 100), (200, 30, 30)).save(tmp_path / "wide.png")
    Image.new("RGB", (10, 20), (30, 30, 200)).save(tmp_path / "small.png")
    (tmp_path / "none.png").write_text("no image")
    uris = [str(tmp_path / name) for name in ("wide.png", "none.png", "small.png", "missing.png")]
    uris.append("/etc/hostname")
    fetch = FetchOptions(allowed_roots=(str(tmp_path),))
    wide, none, small, missing, outside = thumbnails(uris, 64, fetch, DecodeOptions())
    assert [each.problem and each.problem.partition(":")[0] for each in (wide, none, small, missing, outside)] == [
        None,
        "unsupported_format",
        None,
        "not_found",
        "blocked_source",
    ]
    assert none.jpeg is missing.jpeg is outside.jpeg is None
    assert wide.jpeg is not None
    assert small.jpeg is not None
    shown = Image.open(io.BytesIO(wide.jpeg)).convert("RGB")
    assert shown.size == (64, 16)
    red, green, _ = shown.getpixel((30, 8))
    assert red > 180
    assert green < 60
    assert Image.open(io.BytesIO(small.jpeg)).size == (10, 20)
