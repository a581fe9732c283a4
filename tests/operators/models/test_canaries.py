"""The canary images are the same everywhere; vectors that moved are refused with what changed."""

import hashlib

import numpy as np
import pytest

from operators.models.canaries import (
    NUM_CANARIES,
    Canaries,
    CanaryError,
    canary_images,
    canary_pixels,
    check_canaries,
    library_versions,
    record_canaries,
)
from operators.models.load import describe
from operators.models.spec import Precision, parse_model_name

SHA256 = "d94c625d8a8034edc1e2eb1f6297aa8388c0cf396ea8f70c0ab0570afd358dfe"


def vectors(seed: int = 0, dim: int = 512) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(NUM_CANARIES, dim)).astype(np.float32)


def recorded(precision: Precision = "float32", device: str = "cpu") -> Canaries:
    return record_canaries(vectors(), name="m", precision=precision, device=device)


def turned(cosine: float) -> np.ndarray:
    """The vectors, the fifth of them turned to the given cosine and three times as long."""
    moved = vectors()
    one = moved[5] / np.linalg.norm(moved[5])
    other = moved[6] - (moved[6] @ one) * one
    moved[5] = 3 * (cosine * one + np.sqrt(1 - cosine**2) * other / np.linalg.norm(other))
    return moved


def test_the_images_are_the_same_on_every_machine() -> None:
    digest = hashlib.sha256()
    for image in canary_images():
        assert image.dtype == np.uint8
        digest.update(repr(image.shape).encode() + image.tobytes())
    assert digest.hexdigest() == SHA256


def test_the_images_differ_and_none_is_flat() -> None:
    pixels = canary_pixels(describe(parse_model_name("null")).preprocess).astype(np.float64)
    assert pixels.shape == (NUM_CANARIES, 224, 224, 3)
    flat = pixels.reshape(NUM_CANARIES, -1)
    assert flat.std(axis=1).min() > 20
    apart = np.abs(flat[:, None, :1000] - flat[None, :, :1000]).mean(-1) + 1000 * np.eye(NUM_CANARIES)
    assert apart.min() > 5


@pytest.mark.parametrize(("precision", "passes", "fails"), [("float32", 0.9995, 0.998), ("bfloat16", 0.9965, 0.994)])
def test_the_bound_depends_on_the_precision(precision: Precision, passes: float, fails: float) -> None:
    expected = recorded(precision)
    check_canaries(expected, vectors(), name="m", device="cpu")
    check_canaries(expected, turned(passes), name="m", device="cpu")
    with pytest.raises(CanaryError, match=f"{fails:.4f} at worst"):
        check_canaries(expected, turned(fails), name="m", device="cpu")


def test_fewer_canaries_are_compared_with_the_first() -> None:
    check_canaries(recorded(), turned(0.5)[:5], name="m", device="cpu")
    with pytest.raises(CanaryError, match="its 6 test images"):
        check_canaries(recorded(), turned(0.5)[:6], name="m", device="cpu")


def test_nan_never_agrees() -> None:
    broken = vectors()
    broken[3] = np.nan
    with pytest.raises(CanaryError, match=r"cosine of 0\.0000"):
        check_canaries(recorded(), broken, name="m", device="cpu")


def test_what_changed_is_named() -> None:
    before = recorded("bfloat16", device="NVIDIA L4")
    old = before.model_copy(update={"versions": {**before.versions, "torch": "1.0.0", "gone": "3.1"}})
    with pytest.raises(CanaryError) as raised:
        check_canaries(old, turned(0.1), name="open_clip:X/y", device="cpu")
    for part in (
        "open_clip:X/y",
        f"torch 1.0.0 -> {library_versions()['torch']}",
        "gone 3.1 -> not used",
        "device NVIDIA L4 -> cpu",
        "precision bfloat16",
        "another table",
    ):
        assert part in str(raised.value)
    assert "pillow" not in str(raised.value)


def test_where_nothing_changed_the_machine_is_suspected() -> None:
    with pytest.raises(CanaryError, match="a fault of this machine is likely"):
        check_canaries(recorded(), turned(0.1), name="m", device="cpu")


@pytest.mark.parametrize("bad", [np.nan, np.inf, 0.0])
def test_unusable_vectors_are_not_recorded(bad: float) -> None:
    broken = vectors()
    broken[2] = bad
    with pytest.raises(CanaryError, match=r"float16.*precision.*float32"):
        record_canaries(broken, name="m", precision="float16", device="cpu")


def test_a_dimension_that_changed_is_named() -> None:
    with pytest.raises(CanaryError, match="gives 256 dimensions; they were 512"):
        check_canaries(recorded(), vectors(dim=256), name="m", device="cpu")


def test_a_model_that_gives_the_same_vector_for_every_image_is_refused() -> None:
    """Their lengths may differ: what is stored has length one."""
    constant = np.ones((NUM_CANARIES, 8), np.float32) * np.arange(1, NUM_CANARIES + 1, dtype=np.float32)[:, None]
    with pytest.raises(CanaryError, match="the same vector for 16 different test images"):
        record_canaries(constant, name="m", precision="float32", device="cpu")
