"""One function for many arguments: in this process, or as tasks of a Ray cluster."""

from collections.abc import Callable, Sequence
from typing import Any, Protocol, TypeVar

from operators.failures import clean_message
from operators.redact import redact
from pipelines.ray_errors import carried, carrying

T = TypeVar("T")


class RunTasks(Protocol):
    """Gives the results in the order of the calls."""

    def __call__(self, function: Callable[..., T], calls: Sequence[tuple[Any, ...]]) -> list[T]: ...


def run_tasks_here(function: Callable[..., T], calls: Sequence[tuple[Any, ...]]) -> list[T]:
    """One after the other: Lance spreads each over the cores by itself."""
    return [function(*call) for call in calls]


def run_tasks_on_ray(function: Callable[..., T], calls: Sequence[tuple[Any, ...]]) -> list[T]:
    """Spread over the nodes. Ray must be initialised. Raises the `UserError` that a task raised, and `OSError` for
    whatever else ends one."""
    import ray
    from ray.exceptions import RayError

    task = ray.remote(_carrying).options(num_cpus=1, scheduling_strategy="SPREAD")
    running = [task.remote(function, call) for call in calls]
    try:
        results: list[T] = ray.get(running)
    except (RayError, OSError, RuntimeError) as error:
        for each in running:
            ray.cancel(each, force=True)
        if (ours := carried(error)) is not None:
            raise ours from None
        last = str(error).strip().splitlines()[-1]
        raise OSError(f"{function.__name__} failed on a worker: {clean_message(redact(last))}") from error
    return results


def _carrying(function: Callable[..., T], call: tuple[Any, ...]) -> T:
    with carrying():
        return function(*call)
