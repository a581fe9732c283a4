"""Small pictures of many images, and why some have none."""

from pathlib import Path

import numpy as np
from PIL import Image

from operators.base.rows import source_rows
from operators.decode import DecodeOptions
from operators.fetching.options import FetchOptions
from pipelines.pictures.make import NoPictureError, PictureMaker, encoded


def test_each_image_gives_a_small_one_of_its_shape_or_a_reason(tmp_path: Path) -> None:
    Image.new("RGB", (400, 100), (200, 30, 30)).save(tmp_path / "wide.png")
    Image.new("RGB", (10, 20), (30, 30, 200)).save(tmp_path / "small.png")
    (tmp_path / "none.png").write_text("no image")
    uris = [str(tmp_path / name) for name in ("wide.png", "none.png", "small.png", "missing.png")]
    uris.append("/etc/hostname")
    fetch = FetchOptions(allowed_roots=(str(tmp_path),))
    maker = PictureMaker(fetch, DecodeOptions())
    wide, none, small, missing, outside = maker.make(source_rows(uris), 64)
    kinds = [each.kind for each in (none, missing, outside) if isinstance(each, NoPictureError)]
    assert kinds == ["unsupported_format", "not_found", "blocked_source"]
    assert isinstance(wide, Image.Image)
    assert isinstance(small, Image.Image)
    assert wide.size == (64, 16)
    red, green, _ = wide.getpixel((30, 8))  # type: ignore[misc]
    assert red > 180
    assert green < 60
    assert small.size == (10, 20)
    assert encoded(small, "JPEG")[:3] == b"\xff\xd8\xff"
    assert encoded(small, "WEBP")[8:12] == b"WEBP"
    # Another size of the same images, and the images themselves.
    assert [each.size for each in maker.make(source_rows(uris[:1]), 100) if isinstance(each, Image.Image)] == [
        (100, 25)
    ]
    found, refused = maker.bytes_of(source_rows([uris[2], uris[3]]))
    assert found == (tmp_path / "small.png").read_bytes()
    assert isinstance(refused, NoPictureError)
    maker.close()


def test_a_large_jpeg_is_not_decoded_whole_for_a_small_picture(tmp_path: Path) -> None:
    photograph = Image.linear_gradient("L").resize((7200, 4800), Image.Resampling.BILINEAR).convert("RGB")
    photograph.save(tmp_path / "large.jpg", quality=90)
    # As a whole it has 104 MB of pixels; at an eighth of its sides 1.6 MB.
    maker = PictureMaker(FetchOptions(allowed_roots=(str(tmp_path),)), DecodeOptions(memory_limit_bytes=64 << 20))
    [picture] = maker.make(source_rows([str(tmp_path / "large.jpg")]), 300)
    maker.close()
    assert isinstance(picture, Image.Image)
    assert picture.size == (300, 200)
    whole = np.asarray(photograph.resize((300, 200), Image.Resampling.BICUBIC), np.float64)
    assert np.abs(np.asarray(picture, np.float64) - whole).max() < 4
