"""Batch norm whose statistics do not depend on the number of workers."""

import copy

import numpy as np
import torch

from pipelines.distillation.statistics import MOMENTUM, RunningStatistics

IMAGES = torch.from_numpy(np.random.default_rng(0).normal(2, 3, (24, 3)).astype(np.float32))


def network() -> torch.nn.Module:
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.BatchNorm1d(3), torch.nn.Linear(3, 2), torch.nn.BatchNorm1d(2))


def train(parts: list[list[int]], steps: int = 3) -> torch.nn.Module:
    """`parts`: the micro-batches, of 6 images, of each worker."""
    workers = [copy.deepcopy(network()).train() for _ in parts]
    statistics = [RunningStatistics(each) for each in workers]
    for _ in range(steps):
        for worker, own, micro_batches in zip(workers, statistics, parts, strict=True):
            own.begin()
            for at in micro_batches:
                worker(IMAGES[6 * at : 6 * at + 6])
                own.add()
        sums = torch.stack([own.sums for own in statistics]).sum(dim=0)
        for own in statistics:
            own.move(sums, sum(map(len, parts)))
    for worker in workers[1:]:
        # The number of batches too, which would be in a weights file.
        assert all(map(torch.equal, workers[0].buffers(), worker.buffers()))
    return workers[0]


def test_two_workers_keep_what_one_keeps() -> None:
    one, two = train([[0, 1, 2, 3]]), train([[0, 1], [2, 3]])
    uneven = train([[0, 1, 2], [3]])
    for alone, others in ((one, two), (one, uneven)):
        for mine, theirs in zip(alone.buffers(), others.buffers(), strict=True):
            assert torch.allclose(mine.double(), theirs.double(), rtol=1e-6)


def test_a_step_moves_them_once_towards_the_mean_of_its_micro_batches() -> None:
    first = train([[0, 1]], steps=1)[0]
    means = torch.stack([IMAGES[:6].mean(dim=0), IMAGES[6:12].mean(dim=0)]).mean(dim=0)
    variances = torch.stack([IMAGES[:6].var(dim=0), IMAGES[6:12].var(dim=0)]).mean(dim=0)
    assert torch.allclose(first.running_mean, MOMENTUM * means, rtol=1e-5)
    assert torch.allclose(first.running_var, (1 - MOMENTUM) + MOMENTUM * variances, rtol=1e-5)


def test_it_goes_on_from_what_the_network_holds() -> None:
    def step(worker: torch.nn.Module, own: RunningStatistics, at: int) -> None:
        own.begin()
        worker(IMAGES[6 * at : 6 * at + 6])
        own.add()
        own.move(own.sums, 1)

    whole = network().train()
    own = RunningStatistics(whole)
    for at in range(4):
        step(whole, own, at)
        if at == 1:
            begun_again = copy.deepcopy(whole)
    again = RunningStatistics(begun_again)
    for at in (2, 3):
        step(begun_again, again, at)
    assert all(map(torch.equal, whole.buffers(), begun_again.buffers()))


def test_a_network_without_batch_norm_has_none() -> None:
    own = RunningStatistics(torch.nn.Linear(3, 2))
    own.begin()
    own.add()
    own.move(own.sums, 1)
    assert own.numbers == 0
