"""The resize kernel called through torch's library against torch's own function."""

import os
import subprocess
import sys
import textwrap
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn import functional

from operators.pixels.libtorch import resample

MODES = ("bilinear", "bicubic")


def noise(height: int, width: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def by_torch(pixels: np.ndarray, height: int, width: int, mode: str) -> np.ndarray:
    image = torch.from_numpy(pixels).permute(2, 0, 1).unsqueeze(0).contiguous(memory_format=torch.channels_last)
    done = functional.interpolate(image, (height, width), mode=mode, antialias=True)
    return done[0].permute(1, 2, 0).numpy()


@pytest.mark.parametrize("mode", MODES)
def test_every_bit_is_torchs(mode: str) -> None:
    sizes = np.random.default_rng(1).integers(1, 400, (300, 4)).tolist()
    sizes += [[375, 500, 224, 298], [375, 500, 224, 500], [375, 500, 375, 298], [1, 1, 1, 1], [3000, 4000, 224, 298]]
    for seed, (height, width, to_height, to_width) in enumerate(sizes):
        pixels = noise(height, width, seed)
        ours = resample(pixels, to_height, to_width, mode)
        assert np.array_equal(ours, by_torch(pixels, to_height, to_width, mode)), sizes[seed]


@pytest.mark.parametrize("mode", MODES)
def test_one_column_is_within_rounding_of_pillows(mode: str) -> None:
    """torch 2.15 fills it with its first value where floats are resized channel by channel."""
    ramp = np.repeat(np.arange(0, 240, 2, dtype=np.uint8)[:, None, None], 4, axis=1) + np.array([0, 7, 15], np.uint8)
    expected = Image.fromarray(ramp).resize((1, 30), Image.Resampling[mode.upper()])
    assert np.abs(resample(ramp, 30, 1, mode).astype(int) - np.asarray(expected)).max() <= 1


def test_read_only_pixels_are_taken_and_left_as_they_are() -> None:
    pixels = noise(60, 80)
    before = pixels.copy()
    pixels.flags.writeable = False
    first = resample(pixels, 30, 40, "bicubic")
    second = resample(noise(60, 80, 1), 30, 40, "bicubic")
    assert np.array_equal(pixels, before)
    assert np.array_equal(first, by_torch(before, 30, 40, "bicubic"))
    assert not np.array_equal(first, second)


def test_threads_do_not_disturb_each_other() -> None:
    images = [noise(300 + n, 401 - n, n) for n in range(64)]
    alone = [resample(image, 97, 113, MODES[n % 2]) for n, image in enumerate(images)]
    with ThreadPoolExecutor(8) as threads:
        for _ in range(4):
            together = list(threads.map(lambda n: resample(images[n], 97, 113, MODES[n % 2]), range(64)))
            assert all(np.array_equal(*pair) for pair in zip(alone, together, strict=True))


def test_calls_leave_nothing_behind() -> None:
    """100,000 calls: a list or a tensor left behind by each would be tens of megabytes."""
    pixels = noise(8, 8)
    for _ in range(2_000):
        resample(pixels, 4, 4, "bicubic")
    before = resident_bytes()
    for _ in range(50_000):
        resample(pixels, 4, 4, "bicubic")
        resample(pixels, 8, 3, "bilinear")
    assert resident_bytes() - before < 2 * 1024 * 1024


def resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE")


def test_an_error_is_in_torchs_words() -> None:
    with pytest.raises(RuntimeError, match="sizes should be greater than 0"):
        resample(noise(8, 8), 0, 4, "bicubic")


def test_torch_may_be_imported_after_it() -> None:
    """A query decodes here, then loads its model."""
    code = """
        import numpy as np, sys
        from operators.pixels.libtorch import resample
        pixels = np.random.default_rng(0).integers(0, 256, (90, 70, 3), dtype=np.uint8)
        first = resample(pixels, 40, 30, "bicubic")
        assert "torch" not in sys.modules
        import torch
        assert torch.nn.functional.conv2d(torch.ones(1, 3, 8, 8), torch.ones(4, 3, 3, 3)).shape == (1, 4, 6, 6)
        assert np.array_equal(first, resample(pixels, 40, 30, "bicubic"))
        image = torch.from_numpy(pixels).permute(2, 0, 1).unsqueeze(0).contiguous(memory_format=torch.channels_last)
        done = torch.nn.functional.interpolate(image, (40, 30), mode="bicubic", antialias=True)
        assert np.array_equal(first, done[0].permute(1, 2, 0).numpy())
    """
    subprocess.run([sys.executable, "-c", textwrap.dedent(code)], check=True)
