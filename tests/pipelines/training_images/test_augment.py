"""Changed looks are a function of seed, step and position, and keep the original's proportions."""

import numpy as np
import pytest
import torch

from pipelines.training_images.augment import Augmentation, standardised

SIDE = 40
PIXELS = np.random.default_rng(0).integers(0, 256, (3, SIDE, SIDE, 3), np.uint8)
SHAPES = np.array([[30, 30], [60, 20], [500, 2000]])
AUGMENTATION = Augmentation(height=24, width=32, seed=5)


def test_the_same_step_and_position_give_the_same_pixels_in_any_batch() -> None:
    whole = AUGMENTATION.apply(PIXELS, SHAPES, 7, np.array([4, 11, 2]))
    torch.manual_seed(99)
    one = AUGMENTATION.apply(PIXELS[1:2], SHAPES[1:2], 7, np.array([11]))
    assert whole.shape == (3, 24, 32, 3)
    assert np.array_equal(whole[1], one[0])


@pytest.mark.parametrize(("seed", "step", "position"), [(6, 7, 11), (5, 8, 11), (5, 7, 12)])
def test_another_seed_step_or_position_gives_others(seed: int, step: int, position: int) -> None:
    one = AUGMENTATION.apply(PIXELS[1:2], SHAPES[1:2], 7, np.array([11]))
    augmentation = AUGMENTATION.__class__(**{**vars(AUGMENTATION), "seed": seed})
    other = augmentation.apply(PIXELS[1:2], SHAPES[1:2], step, np.array([position]))
    assert not np.array_equal(one, other)


def test_the_random_state_of_others_is_left_alone() -> None:
    torch.manual_seed(1)
    before = torch.random.get_rng_state()
    AUGMENTATION.apply(PIXELS, SHAPES, 0, np.arange(3))
    assert torch.equal(before, torch.random.get_rng_state())


def test_a_crop_has_the_proportions_of_the_original() -> None:
    """A wide image whose left half is black: squashed it is 1 : 1, and a crop with the ratio of 1 in the original is a
    quarter as wide as it is tall where it is cut."""
    plain = Augmentation(height=16, width=16, seed=0, scale=(0.1, 0.2), ratio=(1.0, 1.0), flip=False, colour=0)
    ramp = np.broadcast_to(np.linspace(0, 255, 160).astype(np.uint8)[None, :, None], (160, 160, 3))
    both = np.stack([ramp, ramp.transpose(1, 0, 2)])
    made = plain.apply(both, np.array([[100, 400], [100, 400]]), 0, np.array([3, 3])).astype(int)
    across, down = np.ptp(made[0, 8, :, 0]), np.ptp(made[1, :, 8, 0])
    assert across * 3 < down
    # A tenth to a fifth of the area, as tall as it is wide: 0.63 to 0.9 of the height.
    assert 0.6 * 255 < down < 0.95 * 255


def test_no_change_of_colour_or_side_is_a_crop_alone() -> None:
    plain = Augmentation(height=SIDE, width=SIDE, seed=0, scale=(1.0, 1.0), ratio=(1.0, 1.0), flip=False, colour=0)
    assert np.array_equal(plain.apply(PIXELS[:1], np.array([[50, 50]]), 3, np.array([0])), PIXELS[:1])


def test_pixels_become_what_a_network_takes() -> None:
    made = standardised(PIXELS, (0.5, 0.4, 0.3), (0.2, 0.25, 0.5), "cpu")
    wanted = (PIXELS.transpose(0, 3, 1, 2) / 255 - np.array([0.5, 0.4, 0.3])[:, None, None]) / np.array(
        [0.2, 0.25, 0.5]
    )[:, None, None]
    assert np.allclose(made.numpy(), wanted, atol=1e-5)
