"""JPEG 2000 as Pillow and OpenJPEG read it, but for its colours and for files that are cut short."""

from PIL import ImageFile

from operators.base.errors import BadImage, ErrorClass
from operators.pixels.headers.jp2 import jp2_colours

_EOC = b"\xff\xd9"
"""The last marker of a codestream. Two bytes of packets never look like it (15444-1, B.10.1)."""


def with_colours(image: ImageFile.ImageFile, data: bytes) -> ImageFile.ImageFile:
    """A file that has just been opened, with its ICC profile in `info`. Raises `BadImage` for colours that would be
    taken for others, and where its end is missing, which OpenJPEG calls broken."""
    icc, unread = jp2_colours(data)
    if unread is not None:
        raise BadImage(
            ErrorClass.UNSUPPORTED_FORMAT,
            f"jp2 in {unread}, which is not read; convert it to sRGB, greyscale, CMYK or an ICC profile",
        )
    if _EOC not in data:
        raise BadImage(ErrorClass.TRUNCATED, f"jp2: {len(data)} bytes, without the end of the codestream")
    if icc:
        image.info["icc_profile"] = icc
    return image
