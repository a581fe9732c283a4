"""What a training will take: a line through two steps, and a sentence where it does not fit."""

import pytest
import torch

from operators.base.errors import UserError
from pipelines.training_cost.measure import free_memory, measure_step, tensors_bytes
from pipelines.training_cost.predict import StepMeasure, TrainingSize, check_fits, most_images, predict_cost

MIB = 1 << 20
MEASURE = StepMeasure.through((2, 0.5, 30.0 * MIB), (6, 1.1, 70.0 * MIB))
SIZE = TrainingSize(batch=64, steps=1000, held_bytes=100 * MIB, trained_bytes=20 * MIB)


def test_a_line_through_two_steps_gives_the_whole() -> None:
    assert (MEASURE.fixed_bytes, MEASURE.each_bytes) == (10 * MIB, 10 * MIB)
    cost = predict_cost(MEASURE, SIZE)
    assert cost.step_s == pytest.approx(0.2 + 64 * 0.15)
    assert cost.seconds == pytest.approx(9800)
    assert cost.network_bytes == 7 * 20 * MIB
    assert cost.images_bytes == 1.25 * 650 * MIB
    assert cost.bytes == cost.network_bytes + cost.images_bytes
    two = predict_cost(MEASURE, SIZE.__class__(**{**vars(SIZE), "workers": 2}))
    assert two.network_bytes == (2 * 7 * 20 + 100) * MIB
    assert two.images_bytes == 1.25 * 660 * MIB


def test_times_that_noise_has_turned_round_count_as_shares() -> None:
    noisy = StepMeasure.through((2, 3.0, 1.0), (6, 1.2, 3.0))
    assert (noisy.fixed_s, noisy.each_s) == pytest.approx((0, 0.2))


def test_what_does_not_fit_says_what_would() -> None:
    check_fits(MEASURE, SIZE, 953 * MIB, lower="")
    check_fits(MEASURE, SIZE, None, lower="")
    most = most_images(MEASURE, SIZE, 600 * MIB)
    fitting = SIZE.__class__(**{**vars(SIZE), "batch": most})
    assert predict_cost(MEASURE, fitting).bytes <= 600 * MIB
    assert predict_cost(MEASURE, SIZE.__class__(**{**vars(SIZE), "batch": most + 1})).bytes > 600 * MIB
    with pytest.raises(UserError, match=rf"952 MiB of memory and 600 MiB are free.*a batch of {most} would fit\. Do"):
        check_fits(MEASURE, SIZE, 600 * MIB, lower="Do less")
    with pytest.raises(UserError, match="no batch would fit"):
        check_fits(MEASURE, SIZE, 100 * MIB, lower="")


class Layer(torch.nn.Module):
    """Keeps twice what it is given, or computes it again on the way back."""

    def __init__(self, checkpointed: bool) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(5_000))
        self.checkpointed = checkpointed

    def block(self, x: torch.Tensor) -> torch.Tensor:
        return (x * self.weight).sin().exp()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for _ in range(8):
            if self.checkpointed:
                x = torch.utils.checkpoint.checkpoint(self.block, x, use_reentrant=False)
            else:
                x = self.block(x)
        return x


@pytest.mark.parametrize(("checkpointed", "least", "most"), [(False, 17, 20), (True, 10, 14)])
def test_a_step_is_weighed_by_what_its_tensors_hold_at_the_peak(checkpointed: bool, least: int, most: int) -> None:
    layer = Layer(checkpointed)
    before = torch.random.get_rng_state()
    measure = measure_step(lambda n: layer(torch.rand(n, 5_000)), layer.parameters())
    row = 5_000 * 4
    assert least * row <= measure.each_bytes <= most * row
    assert measure.each_s > 0
    assert layer.weight.grad is None
    assert torch.equal(before, torch.random.get_rng_state())
    assert (free_memory() or 0) > 0


def test_gradients_do_not_hide_what_more_images_take() -> None:
    """With checkpointing the images of a small step weigh less than the largest gradient, and of a large one more."""
    wide, layer = torch.nn.Linear(250, 5_000), Layer(checkpointed=True)
    own = [*wide.parameters(), *layer.parameters()]
    measure = measure_step(lambda n: layer(wide(torch.rand(n, 250))), own)
    row = 5_000 * 4
    assert 10 * row <= measure.each_bytes <= 14 * row
    assert measure.fixed_bytes < tensors_bytes(own) / 2
    assert all(each.grad is None for each in own)
