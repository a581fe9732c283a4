"""Images of one colour, numbered: what Pixlake must make of each is known in closed form."""

import io
from functools import lru_cache

import numpy as np
from PIL import Image

DIM = 192
"""The null model: mean colours of an 8 x 8 grid, three channels."""


def colour_of(number: int) -> tuple[int, int, int]:
    """Another direction in RGB for every number below 65,536, so no two vectors are equal after normalisation."""
    return 255, number % 256, number // 256


def size_of(number: int) -> tuple[int, int]:
    """Width and height."""
    return 8 + number % 7, 8 + number % 5


@lru_cache(maxsize=20_000)
def png_of(number: int) -> bytes:
    out = io.BytesIO()
    Image.new("RGB", size_of(number), colour_of(number)).save(out, "PNG")
    return out.getvalue()


def vectors_of(numbers: list[int]) -> np.ndarray:
    """(N, 192) float64 of unit length: the colour in every cell of the grid."""
    cells = np.array([colour_of(number) for number in numbers], np.float64).reshape(-1, 3)
    vectors: np.ndarray = np.tile(cells / np.linalg.norm(cells, axis=1, keepdims=True) / 8, (1, 64))
    return vectors
