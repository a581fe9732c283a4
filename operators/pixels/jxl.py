"""JPEG XL through libjxl, as pillow-jxl-plugin brings it: to a Pillow image, or to the JPEG that was stored in it."""

import importlib

import numpy as np
from PIL import Image

from operators.base.errors import NEEDS_EXTRA, BadImage, ErrorClass


def decode_jxl(data: bytes) -> Image.Image | bytes:
    """The first frame, upright, of 8 bits a sample, with its ICC profile in `info`; or, of a file that was made from a
    JPEG without loss, that very JPEG.

    Decodes at once: the size must have been checked. Raises `BadImage`, and `OSError` for what is damaged or cut short.
    """
    try:
        module = importlib.import_module("pillow_jxl.pillow_jxl")
    except ModuleNotFoundError as error:
        raise BadImage(ErrorClass.UNSUPPORTED_FORMAT, f"JPEG XL {NEEDS_EXTRA.format('jxl')}") from error
    try:
        is_jpeg, info, pixels, icc, _ = module.Decoder(num_threads=0)(data)
    except RuntimeError as error:  # its own words are on how to build it anew
        raise OSError("libjxl cannot decode it") from error
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
