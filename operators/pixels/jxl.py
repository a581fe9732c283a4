"""JPEG XL through libjxl, as pillow-jxl-plugin brings it: to a Pillow image, or to the JPEG that was stored in it."""

import importlib

import numpy as np
from PIL import Image

from operators.base.errors import BadImage, ErrorClass
from operators.pixels.headers.boxes import boxes


def decode_jxl(data: bytes) -> Image.Image | bytes:
    """The first frame, upright, of 8 bits a sample, with its ICC profile in `info`; or, of a file that was made from a
    JPEG without loss, that very JPEG.

    Decodes at once: the size must have been checked. Raises `BadImage`.
    """
    try:
        module = importlib.import_module("pillow_jxl.pillow_jxl")
    except ModuleNotFoundError as error:
        raise BadImage(
            ErrorClass.UNSUPPORTED_FORMAT, "JPEG XL needs an extra package on the workers: pip install pixlake[jxl]"
        ) from error
    if _is_cut(data):
        raise BadImage(ErrorClass.TRUNCATED, f"jxl: {len(data)} bytes, fewer than its last box should have")
    is_jpeg, info, pixels, icc, _ = module.Decoder(num_threads=0)(data)
    if is_jpeg:
        return bytes(pixels)
    if info.mode == "F":
        raise BadImage(
            ErrorClass.UNSUPPORTED_FORMAT,
            "jxl: grey in floating point, whose range no header gives; store it with 8 or 16 bits a sample",
        )
    mode = "L" if info.mode == "I;16" else info.mode
    if len(pixels) == 2 * info.width * info.height * len(mode):  # grey of 16 bits, with alpha too; colour comes as 8
        pixels = (np.frombuffer(pixels, np.uint16) >> 8).astype(np.uint8).tobytes()
    image = Image.frombytes(mode, (info.width, info.height), pixels)
    if icc:
        image.info["icc_profile"] = bytes(icc)
    return image


def _is_cut(data: bytes) -> bool:
    """Whether a file in boxes ends within one. Of a bare codestream nothing says how long it should be."""
    if data.startswith(b"\xff\x0a"):
        return False
    view = memoryview(data)
    return sum(1 for _ in boxes(view)) != sum(1 for _ in boxes(view, cut=True))
