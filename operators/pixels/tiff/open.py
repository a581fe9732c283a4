"""A TIFF as an image of Pillow's kind, whoever reads it."""

import io
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from PIL import Image, ImageFile, TiffImagePlugin

from operators.base.errors import BadImage, ErrorClass
from operators.pixels.tiff.colours import image_of
from operators.pixels.tiff.directory import Page, beginning_at, first_at
from operators.pixels.tiff.pages import picture
from operators.pixels.tiff.readers import Reader, reader_of
from operators.pixels.tiff.samples import stored_samples

_ORIENTATION = 0x0112
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def open_tiff(file: io.BytesIO) -> ImageFile.ImageFile:
    """The page with the picture, its header read and no pixel decoded. Loading turns it upright, as Pillow does."""
    data = file.getvalue()
    page = picture(data)
    reader = reader_of(page)
    if page.at != first_at(data)[2]:
        data = beginning_at(data, page)
    if reader is Reader.TIFFFILE:
        return _Sampled(data, page)
    with _through_libtiff(reader is Reader.LIBTIFF):
        return _Whole(data, page)


class _Whole(TiffImagePlugin.TiffImageFile):
    """Read by Pillow. libtiff says of a file that ends early no more than a number."""

    def __init__(self, data: bytes, page: Page) -> None:
        self._missing = page.end - len(data)
        super().__init__(io.BytesIO(data))

    def load(self) -> Any:
        try:
            return super().load()
        except OSError as error:
            if self._missing <= 0:
                raise
            raise BadImage(ErrorClass.TRUNCATED, f"tiff: the last {self._missing} bytes are missing") from error


class _Sampled(ImageFile.ImageFile):
    """Read by tifffile, once it is loaded."""

    format = "TIFF"

    def __init__(self, data: bytes, page: Page) -> None:
        self._page = page
        super().__init__(io.BytesIO(data))

    def _open(self) -> None:
        self._mode = "RGB"  # until it is loaded
        width, height = self._page.size
        turned = self._page.value(274, 1)
        self._size = (height, width) if turned in (5, 6, 7, 8) else (width, height)
        if profile := self._page.tags.get(34675):
            self.info["icc_profile"] = bytes(value & 0xFF for value in profile)
        exif = Image.Exif()
        exif[_ORIENTATION] = turned
        self.info["exif"] = exif.tobytes()

    def load(self) -> Any:
        if self._im is None and isinstance(self.fp, io.BytesIO):
            image = image_of(stored_samples(self.fp.getvalue(), self._page), self._page)
            turn = _TURNS.get(self._page.value(274, 1))
            image = image if turn is None else image.transpose(turn)
            self.im, self._mode, self._size = image.im, image.mode, image.size
        return Image.Image.load(self)


@contextmanager
def _through_libtiff(wanted: bool) -> Iterator[None]:
    """Pillow's switch for it is one for the process: its lock is held here (`images`)."""
    before = TiffImagePlugin.READ_LIBTIFF
    TiffImagePlugin.READ_LIBTIFF = wanted or before
    try:
        yield
    finally:
        TiffImagePlugin.READ_LIBTIFF = before
