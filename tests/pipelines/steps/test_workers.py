"""Two processes that train together come to what one comes to."""

import multiprocessing
import socket
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from made.small_head import small_plan, small_rows
from made.small_training import SmallTraining, small_recipe
from operators.base.errors import UserError
from pipelines.steps.checkpoint import CheckpointPlace, TrainingState, read_checkpoint, write_checkpoint
from pipelines.steps.here import train_here
from pipelines.steps.loop import StepEars, run_steps
from pipelines.steps.workers import Workers
from pipelines.training.head import HeadTask, Objective

OBJECTIVES: tuple[Objective, ...] = ("labels", "self", "captions")
WAIT = timedelta(seconds=250)
TOLERANCE = 1e-5
"""Of a parameter, after 30 steps of 0.01: the order of sums alone; docs/train-head.md states it."""


def work(rank: int, port: int, folder: str, answers: Any) -> None:
    """One of two workers, as Ray Train would start it: what it came to, by DDP, by FSDP, and with a broken row."""
    threads = torch.get_num_threads()
    from torch import distributed

    torch.set_num_threads(1)
    distributed.init_process_group("gloo", init_method=f"tcp://127.0.0.1:{port}", rank=rank, world_size=2, timeout=WAIT)
    workers = Workers(rank=rank, size=2, device=torch.device("cpu"))
    # A part of no row, and gradients through it.
    given = torch.arange(3.0 * rank).reshape(-1, 1).requires_grad_()
    gathered = workers.gather(given)
    (gathered * (1 + torch.arange(3.0))[:, None]).sum().backward()  # type: ignore[no-untyped-call]
    answers.put(("gathered", rank, gathered.detach().tolist(), given.grad.tolist() if given.grad is not None else []))
    for sharded in (False, True):
        place = CheckpointPlace(f"{folder}/{'fsdp' if sharded else 'ddp'}.safetensors")

        def keep(state: TrainingState, place: CheckpointPlace = place) -> None:
            write_checkpoint(state, place)

        for steps in (10, 30):
            distributed.barrier()
            recipe, held = small_recipe(steps=steps, schedule="constant"), read_checkpoint(place)
            run_steps(SmallTraining()(workers), recipe, workers, held, keep, StepEars(), sharded=sharded)
    for objective in OBJECTIVES:
        rows = small_rows()
        plan = small_plan(rows, objective)
        task = HeadTask(plan, rows, workers)
        assert len(task.rows.full.values) == 45, "a worker has its share alone"  # type: ignore[attr-defined]
        state = run_steps(task, plan.steps(), workers, None, lambda state: None, StepEars())
        if rank == 0:
            answers.put((objective, plan.head(state.tensors), state.history))
    try:
        broken = SmallTraining(broken_at=3)(workers)
        run_steps(broken, small_recipe(), workers, None, lambda state: None, StepEars())
    except UserError as error:
        answers.put(("broken", rank, str(error)))
    distributed.destroy_process_group()
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Any]]:
    folder = tmp_path_factory.mktemp("workers")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    context = multiprocessing.get_context("spawn")
    answers = context.Queue()
    # This process is the other one: torch takes seconds of a core to import.
    second = context.Process(target=work, args=(1, port, str(folder), answers))
    second.start()
    work(0, port, str(folder), answers)
    said = [answers.get(timeout=60) for _ in range(4 + len(OBJECTIVES))]
    second.join(60)
    assert second.exitcode == 0
    return folder, said


@pytest.mark.parametrize("way", ["ddp", "fsdp"])
def test_two_workers_give_what_one_gives(two: tuple[Path, list[Any]], tmp_path: Path, way: str) -> None:
    """Gone on from a checkpoint at step 10 too."""
    place = CheckpointPlace(str(tmp_path / "one.safetensors"))
    one = train_here(SmallTraining(), small_recipe(schedule="constant"), place, StepEars(), device="cpu")
    both = read_checkpoint(CheckpointPlace(str(two[0] / f"{way}.safetensors")))
    assert both is not None
    assert both.step == one.step == 30
    for name, each in one.tensors.items():
        assert (both.tensors[name].double() - each.double()).abs().max() < TOLERANCE, name
    held = [[entry["held_out_loss"] for entry in state.history] for state in (one, both)]
    np.testing.assert_allclose(held[0], held[1], atol=TOLERANCE)


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_two_workers_train_the_head_that_one_trains(
    two: tuple[Path, list[Any]], tmp_path: Path, objective: str
) -> None:
    rows = small_rows()
    plan = small_plan(rows, objective)
    place = CheckpointPlace(str(tmp_path / "one.safetensors"))
    state = train_here(partial(HeadTask, plan, rows), plan.steps(), place, StepEars(), device="cpu")
    _, head, history = next(each for each in two[1] if each[0] == objective)
    for name, each in plan.head(state.tensors).items():
        np.testing.assert_allclose(head[name], each, atol=TOLERANCE)
    for one, both in zip(state.history, history, strict=True):
        assert one.keys() == both.keys()
        np.testing.assert_allclose([*one.values()], [*both.values()], atol=TOLERANCE)


def test_parts_of_any_size_are_gathered_and_gradients_run_back(two: tuple[Path, list[Any]]) -> None:
    """Each of two losses says of row i that it counts i + 1 times."""
    gathered = sorted(each[1:] for each in two[1] if each[0] == "gathered")
    assert gathered == [(0, [[0.0], [1.0], [2.0]], []), (1, [[0.0], [1.0], [2.0]], [[2.0], [4.0], [6.0]])]


def test_no_number_on_one_worker_ends_all_with_the_same_words(two: tuple[Path, list[Any]]) -> None:
    said = [each[2] for each in two[1] if each[0] == "broken"]
    assert len(said) == 2
    assert said[0] == said[1]
    assert said[0].startswith("step 3: the loss is nan")
