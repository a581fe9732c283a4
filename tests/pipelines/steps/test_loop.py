"""The loop of steps on one worker: the same bytes from any checkpoint on, when it ends, what it says of no number."""

import math
from pathlib import Path
from typing import Any

import pytest
import torch

from made.small_training import SmallTraining, small_recipe
from operators.base.errors import UserError
from pipelines.steps.checkpoint import CheckpointPlace, TrainingState, read_checkpoint
from pipelines.steps.here import train_here
from pipelines.steps.loop import StepEars, StepPilot

QUIET = StepEars()


class Killed(Exception):
    pass


def same(one: TrainingState, other: TrainingState) -> bool:
    parts = ("tensors", "moments", "best")
    return all(
        getattr(one, part).keys() == getattr(other, part).keys()
        and all(torch.equal(each, getattr(other, part)[name]) for name, each in getattr(one, part).items())
        for part in parts
    )


def train(folder: Path, ears: StepEars = QUIET, training: SmallTraining | None = None, **recipe: Any) -> TrainingState:
    place = CheckpointPlace(str(folder / "training.safetensors"))
    made = training or SmallTraining(dropout=0.2)
    return train_here(made, small_recipe(**recipe), place, ears, device="cpu")


def test_from_a_checkpoint_on_it_comes_to_the_same_bytes(tmp_path: Path) -> None:
    """With dropout, warm-up, cosine and clipping."""

    def killed(entry: dict[str, float]) -> None:
        if entry["step"] == 20:
            raise Killed

    with pytest.raises(Killed):
        train(tmp_path / "a", StepEars(on_look=killed))
    begun: list[StepPilot] = []
    resumed = train(tmp_path / "a", StepEars(on_start=begun.append))
    assert (begun[0].step, [each["step"] for each in begun[0].history]) == (20, [0, 10, 20])
    undisturbed = train(tmp_path / "b")
    assert same(resumed, undisturbed)
    assert resumed.history == undisturbed.history
    assert undisturbed.history[-1]["held_out_loss"] < undisturbed.history[0]["held_out_loss"] - 0.1


def test_the_pilot_leaves_no_trace(tmp_path: Path) -> None:
    """The first step after it is that of an untimed training: AdamW's first step moves each number by the rate."""
    before = SmallTraining()(a_worker()).module.state_dict()
    made = SmallTraining(batch_statistics=True)
    state = train(tmp_path, training=made, steps=1, warmup=0, schedule="constant", weight_decay=0.0, clip=None)
    moved = (state.tensors["0.weight"] - before["0.weight"]).abs()
    assert 0.0099 < moved.max() <= 0.01 * 1.001
    assert state.tensors["1.num_batches_tracked"] == 1


def a_worker() -> Any:
    from pipelines.steps.workers import Workers

    return Workers(rank=0, size=1, device=torch.device("cpu"))


def test_the_checkpoint_is_one_safetensors_file_with_moments_and_step(tmp_path: Path) -> None:
    state = train(tmp_path)
    held = read_checkpoint(CheckpointPlace(str(tmp_path / "training.safetensors")))
    assert held is not None
    assert same(held, state)
    assert (held.step, held.best_step, held.history) == (state.step, state.best_step, state.history)
    assert {"mean.0.weight", "square.4.bias"} <= held.moments.keys()


def test_a_checkpoint_that_cannot_be_read_is_none(tmp_path: Path) -> None:
    (tmp_path / "training.safetensors").write_bytes(b"\x10\0\0\0\0\0\0\0{}")
    assert read_checkpoint(CheckpointPlace(str(tmp_path / "training.safetensors"))) is None


def test_it_ends_when_the_held_out_rows_gain_no_more(tmp_path: Path) -> None:
    state = train(tmp_path, learning_rate=1e-12, warmup=0, patience=2, steps=1000)
    assert state.step - state.best_step == 20
    assert state.step < 1000


def test_no_number_ends_it_with_the_step_and_the_batch(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"step 12: the loss is nan, .* The batch: row-\d+, .* and 11 others"):
        train(tmp_path, training=SmallTraining(broken_at=12))


def test_rates_by_warm_up_and_cosine() -> None:
    recipe = small_recipe(steps=105, warmup=5, learning_rate=1.0, rates=(("4.", 0.1),))
    assert [recipe.rate_at(step) for step in (0, 4)] == pytest.approx([0.2, 1.0])
    assert recipe.rate_at(55) == pytest.approx(0.5)
    assert recipe.rate_at(104) == pytest.approx((1 + math.cos(math.pi * 0.99)) / 2)
    assert (recipe.factor_of("4.weight"), recipe.factor_of("0.weight")) == (0.1, 1.0)
    assert small_recipe(schedule="constant", warmup=0).rate_at(29) == 0.01
