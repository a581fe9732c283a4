"""Independent calls on a Ray cluster, their results as they end: for work that is no stream of rows."""

from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

from pipelines.ray_errors import carried, carrying

T = TypeVar("T")
R = TypeVar("R")

_WAITING = 2
"""Calls handed to Ray for each CPU: one runs, one is ready to follow. The driver holds no more at a time."""


def run_tasks(call: Callable[[T], R], items: Iterable[T], *, num_cpus: float = 1.0) -> Iterator[R]:
    """`call(item)` for each item in a Ray task of its own, in no order. Ray must be initialised.

    A task whose worker dies is run again, so a call must bear being made twice. Raises the `UserError` or `OSError` of
    the first call that fails; what was under way then is given up.
    """
    import ray
    from ray.exceptions import RayTaskError

    @ray.remote(num_cpus=num_cpus, max_retries=3)  # type: ignore[untyped-decorator]
    def task(item: T) -> R:
        with carrying():
            return call(item)

    most = max(1, int(_WAITING * ray.cluster_resources().get("CPU", 1.0) / num_cpus))
    waiting: list[Any] = []
    try:
        for item in items:
            waiting.append(task.remote(item))
            if len(waiting) >= most:
                [done], waiting = ray.wait(waiting, num_returns=1)
                yield ray.get(done)
        while waiting:
            [done], waiting = ray.wait(waiting, num_returns=1)
            yield ray.get(done)
    except RayTaskError as error:
        refused = carried(error)
        if refused is not None:
            raise refused from None
        if isinstance(error.cause, OSError):
            raise error.cause from None
        raise
    finally:
        for left in waiting:
            ray.cancel(left)
