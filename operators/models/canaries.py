"""Sixteen images made by code, and a model's vectors for them: does it still compute what it computed before?

The space says what a vector is meant to be; canaries show what it is. Another release of a library, another device or a
broken device can change vectors while every recorded setting stays the same.
"""

import base64
from importlib.metadata import PackageNotFoundError, version

import numpy as np
from pydantic import BaseModel, ConfigDict, field_validator

from operators.base.errors import UserError
from operators.models.spec import Precision
from operators.pixels.preprocess import Preprocess

NUM_CANARIES = 16
LIBRARIES = ("torch", "timm", "open_clip_torch", "transformers", "pillow")
"""Libraries whose releases are recorded: they turn an image into a vector."""

_SIZES = ((240, 320), (320, 240), (256, 256), (180, 420))


class CanaryError(UserError):
    """The model does not give the vectors it gave before; the message says how far off they are and what changed."""


class Canaries(BaseModel):
    """Vectors of the canary images and where they were computed."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    vectors: str
    """(16, dim) float16 of unit length, row-major, little-endian, in base64."""
    precision: Precision
    device: str
    """`cpu`, or the GPU's own name."""
    versions: dict[str, str]
    """Library to release, the backend included."""

    @property
    def backend(self) -> str:
        """What ran the model."""
        return "openvino" if "openvino" in self.versions else "torch"

    def to_numpy(self) -> np.ndarray:
        """(16, dim) float32."""
        return _unpacked(self.vectors)

    @field_validator("vectors")
    @classmethod
    def _check_vectors(cls, value: str) -> str:
        _unpacked(value)
        return value


def _unpacked(vectors: str) -> np.ndarray:
    """The vectors as stored. Raises `ValueError` unless they are sixteen."""
    return np.frombuffer(base64.b64decode(vectors), "<f2").reshape(NUM_CANARIES, -1).astype(np.float32)


def canary_images() -> list[np.ndarray]:
    """Sixteen (H, W, 3) uint8 images: waves, rings, tiles and hashed noise in four shapes. The same everywhere: made
    with integers alone."""
    return [_image(number, *_SIZES[number // 4]) for number in range(NUM_CANARIES)]


def _image(number: int, height: int, width: int) -> np.ndarray:
    y, x = np.mgrid[:height, :width].astype(np.int64)
    period = 16 + 8 * number
    ramps = (x * 255 // (width - 1), y * 255 // (height - 1), (x + y) * 255 // (width + height - 2))
    rings = ((x - width // 3) ** 2 + (y - height // 2) ** 2) // period % 256
    tiles = ((x // period + y // period) % 2) * 160 + 40
    noise = (x // 4 * 2654435761 + y // 4 * 40503 + number * 97) % 1000003 % 256
    kinds = (ramps, (rings, ramps[0], tiles), (tiles, ramps[1], noise), (noise, rings, ramps[2]))
    channels = kinds[number % 4]
    return np.stack([np.roll(c, number * 7, axis=1) for c in channels], axis=-1).astype(np.uint8)


def canary_pixels(preprocess: Preprocess, count: int = NUM_CANARIES) -> np.ndarray:
    """The first `count` canaries as a model takes them: (count, height, width, 3) uint8."""
    # Here and not at the top: it imports torch, and the driver reads `Canaries` without.
    from operators.pixels.resize import fit

    pixels = np.zeros((count, preprocess.height, preprocess.width, 3), np.uint8)
    for out, image in zip(pixels, canary_images(), strict=False):
        fit(image, preprocess, out)
    return pixels


def record_canaries(
    vectors_ND: np.ndarray, *, name: str, precision: Precision, device: str, backend: str = "torch"
) -> Canaries:
    """The record of (16, dim) float32 vectors. Raises `CanaryError` where the model gave unusable ones."""
    norms = np.linalg.norm(vectors_ND.astype(np.float64), axis=1, keepdims=True)
    if not np.isfinite(norms).all() or not norms.all():
        raise CanaryError(
            f"model {name!r} gives NaN, infinite or zero vectors for plain test images in {precision}; "
            "choose another precision (model.precision, float32), or check the weights"
        )
    unit = (vectors_ND / norms).astype("<f2")
    if len(unit) > 1 and (unit == unit[0]).all():
        raise CanaryError(
            f"model {name!r} gives the same vector for {len(unit)} different test images in {precision}, so that no "
            "search could tell images apart; choose another precision (model.precision, float32), or check the weights"
        )
    return Canaries(
        vectors=base64.b64encode(unit.tobytes()).decode(),
        precision=precision,
        device=device,
        versions=library_versions(backend),
    )


def check_canaries(
    expected: Canaries, vectors_ND: np.ndarray, *, name: str, device: str, backend: str = "torch"
) -> None:
    """Raises `CanaryError` where (N, dim) float32 vectors of the first N canaries are not those recorded.

    Each cosine must be at least 0.999 in float32 and 0.995 in reduced precision, on any device.
    """
    wanted, cosines = wanted_cosine(expected), canary_cosines(expected, vectors_ND, name=name)
    # NaN compares as false with anything, so it must be the comparison that passes.
    if (cosines >= wanted).all():
        return
    raise CanaryError(
        f"model {name!r} does not compute what it did when the table was made: its {len(cosines)} test images agree to "
        f"a cosine of {np.nan_to_num(cosines.min(), nan=0.0):.4f} at worst, {wanted} is wanted. "
        f"{_changes(expected, device, backend)}. Vectors of both would not belong together: go back to what the table "
        "was made with, or embed into another table"
    )


def wanted_cosine(expected: Canaries) -> float:
    """The least cosine at which a model counts as the one that was recorded."""
    return 0.999 if expected.precision == "float32" else 0.995


def canary_cosines(expected: Canaries, vectors_ND: np.ndarray, *, name: str) -> np.ndarray:
    """(N,) float64: how far (N, dim) float32 vectors of the first N canaries agree with those recorded; NaN for one
    without a direction. Raises `CanaryError` where the lengths differ."""
    there = expected.to_numpy()[: len(vectors_ND)]
    if there.shape != vectors_ND.shape:
        raise CanaryError(f"model {name!r} gives {vectors_ND.shape[1]} dimensions; they were {there.shape[1]}")
    lengths = np.linalg.norm(there, axis=1) * np.linalg.norm(vectors_ND.astype(np.float64), axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        cosines: np.ndarray = np.einsum("nd,nd->n", there, vectors_ND, dtype=np.float64) / lengths
    return cosines


def _changes(expected: Canaries, device: str, backend: str) -> str:
    now = library_versions(backend)
    changed = [
        f"{name} {before} -> {now.get(name, 'not used')}"
        for name, before in expected.versions.items()
        if now.get(name) != before
    ]
    if backend != "torch" and backend not in expected.versions:
        changed.append(f"{backend} runs it now")
    if device != expected.device:
        changed.append(f"device {expected.device} -> {device}")
    same = f"precision {expected.precision} as before"
    if not changed:
        return f"Library versions and device ({device}) are as they were, {same}; a fault of this machine is likely"
    return f"Changed since: {', '.join(changed)}; {same}"


def library_versions(backend: str = "torch") -> dict[str, str]:
    """Library to release, for those of `LIBRARIES` that are installed, and the backend that ran the model."""
    found = {}
    for name in dict.fromkeys((*LIBRARIES, backend)):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found
