"""One function over many pieces of a table, in this process or as Ray tasks; results come as they are done."""

import os
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from typing import Any, Protocol, TypeVar

import lance

from pipelines.table.errors import TableError

W = TypeVar("W")
R = TypeVar("R")


class TaskLostError(TableError):
    """Workers died again and again in the middle of the same work; what was committed stays."""


class RunTasks(Protocol):
    """Calls the function once for each piece of work, anywhere and in any order. Its errors pass as they are."""

    def __call__(self, task: Callable[[W], R], work: Sequence[W]) -> Iterator[R]: ...


def tasks_here(task: Callable[[W], R], work: Sequence[W]) -> Iterator[R]:
    """One after the other, in this process."""
    yield from map(task, work)


def tasks_on_ray(task: Callable[[W], R], work: Sequence[W]) -> Iterator[R]:
    """One Ray task of one CPU for each piece. Ray must be initialised; task, work and results are pickled.

    Raises `TaskLostError` where workers die: Ray has run the same piece four times by then.
    """
    import ray
    from ray.exceptions import RayError, RayTaskError

    remote = ray.remote(num_cpus=1, max_retries=3)(_call)
    shared = ray.put(task)
    # Twice what can run: a worker that is done finds the next piece waiting. All at once, the results of those that
    # are done before they are asked for would fill the object store.
    window = max(2, int(2 * ray.cluster_resources().get("CPU", 1)))
    left = iter(work)
    running: list[Any] = []
    try:
        while True:
            running += [remote.remote(shared, each) for each in islice(left, window - len(running))]
            if not running:
                return
            [done], running = ray.wait(running, num_returns=1)
            yield ray.get(done)
    except RayTaskError as error:
        raise error.cause from error
    except RayError as error:
        raise TaskLostError(f"a worker died four times at the same piece of work: {type(error).__name__}") from error
    finally:
        for each in running:
            ray.cancel(each)


def _call(task: Callable[[W], R], work: W) -> R:
    # Lance's own pools default to every core; the tasks beside this one have theirs.
    os.environ.setdefault("LANCE_CPU_THREADS", "1")
    os.environ.setdefault("LANCE_IO_THREADS", "4")
    return task(work)


def fragment_groups(fragments: Sequence["lance.LanceFragment"], rows: int) -> list[tuple[int, ...]]:
    """Ids of consecutive fragments with at least `rows` rows together: an embed job leaves fragments of a thousand
    rows."""
    groups: list[tuple[int, ...]] = []
    group, waiting = list[int](), 0
    for fragment in fragments:
        group.append(fragment.fragment_id)
        waiting += fragment.metadata.physical_rows
        if waiting >= rows:
            groups.append(tuple(group))
            group, waiting = [], 0
    return groups + ([tuple(group)] if group else [])
