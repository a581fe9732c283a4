"""A Ray cluster to run on: one on this machine for the run, or one that is there already."""

import contextlib
import logging
import math
import os
import signal
import threading
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import takewhile

from jobs.session.join_cluster import join, warn
from jobs.session.lean_ray import lean_data, lean_start
from jobs.session.native_output import hide_native_output
from jobs.session.watched import say
from operators.base.errors import clean_message
from pipelines.run.cluster import ClusterConfig
from pipelines.run.resources import HEADROOM_CPUS, WRITE_CPUS, fit
from pipelines.run.stage import Stage
from pipelines.table.tasks import RunTasks, tasks_here, tasks_on_ray

ON_RAY = "on_ray"
"""What the parent of this process is told while it may be ended by Ray."""

SMALL_ROWS = 1_000_000
"""Up to so many rows, what is done on a table takes less time than the start of a Ray for it."""


@contextlib.contextmanager
def ray_cluster(config: ClusterConfig, stages: Sequence[Stage], *, verbose: bool) -> Iterator[tuple[Stage, ...]]:
    """Connected to Ray while entered; gives the stages sized to it. Raises `PlanError` when the pools do not fit."""
    with contextlib.nullcontext() if verbose else hide_native_output():
        _quiet(verbose)
        import ray

        _leave_signals_alone()
        connect = _start_here if config.address is None else join
        say(ON_RAY, True)
        try:
            sized = connect(config, stages, verbose)
            _take_signals_back()
            with lean_data() if config.address is None else contextlib.nullcontext():
                try:
                    yield sized
                finally:
                    ray.shutdown()
        finally:
            say(ON_RAY, False)


def size_here(config: ClusterConfig, stages: Sequence[Stage]) -> tuple[Stage, ...]:
    """The stages sized to the Ray that would be started on this machine; starts nothing, asks for GPUs if a stage does.

    For a config without `address`. Raises `PlanError`, showing the sums, when the pools do not fit.
    """
    slots, gpus = _slots_here(config, stages)
    return fit(stages, num_cpus=slots, num_gpus=gpus, num_writers=config.num_writers)


def _slots_here(config: ClusterConfig, stages: Sequence[Stage]) -> tuple[float, int]:
    """(CPU slots, GPUs). Real CPUs go to the pools. Ray is told of a few more slots, for readers and writers, which are
    mostly idle."""
    gpus = config.num_gpus
    if gpus is None:
        gpus = _gpus_here() if any(stage.resources.num_gpus for stage in stages) else 0
    return config.cores_here + config.num_writers * WRITE_CPUS + HEADROOM_CPUS, gpus


def _start_here(config: ClusterConfig, stages: Sequence[Stage], verbose: bool) -> tuple[Stage, ...]:
    import ray

    slots, gpus = _slots_here(config, stages)
    sized = fit(stages, num_cpus=slots, num_gpus=gpus, num_writers=config.num_writers)
    from ray._private import ray_constants

    if os.environ.get("RAY_AUTH_MODE", "token").lower() != "token":
        warn(f"RAY_AUTH_MODE={os.environ['RAY_AUTH_MODE']}: every user of this machine can run code in this run's Ray")
    try:
        # By this Ray tells a machine of its own from one of a cluster, and listens on the loopback address alone. Given
        # as an address in `init`, 127.0.0.1 is replaced by that of the network (2.60).
        ray_constants.ENABLE_RAY_CLUSTER = False
        with contextlib.nullcontext() if verbose else lean_start():
            ray.init(
                # Without it Ray joins the cluster that RAY_ADDRESS, or an earlier `ray start`, names.
                address="local",
                num_cpus=math.ceil(slots),
                num_gpus=gpus,
                object_store_memory=config.object_store_bytes,
                include_dashboard=False,
                log_to_driver=verbose,
                logging_level=logging.INFO if verbose else logging.ERROR,
            )
    except Exception as error:
        # A start that takes too long, on a busy machine, is a bare `Exception` of Ray's.
        raise OSError(
            f"Ray did not start on this machine: {clean_message(str(error))}; try again, or run without it: "
            "--set cluster.executor=local"
        ) from error
    finally:
        ray_constants.ENABLE_RAY_CLUSTER = True
    return sized


def _gpus_here() -> int:
    """GPUs of this machine that CUDA_VISIBLE_DEVICES leaves to this process; Ray refuses to start with more."""
    _set_environment()
    from ray._private.accelerators import NvidiaGPUAcceleratorManager

    there = int(NvidiaGPUAcceleratorManager.get_current_node_num_accelerators())
    visible = NvidiaGPUAcceleratorManager.get_current_process_visible_accelerator_ids()
    if visible is None:
        return there
    # CUDA ignores what follows the first id that is none.
    return min(there, sum(1 for _ in takewhile(lambda name: name.strip() != "-1", visible)))


def _leave_signals_alone() -> None:
    """Keep Ray from setting a SIGTERM handler in this process: its own ends the process at once, with Ray's exit code
    and without a word, while Ray starts as well (2.60, `init` and `Node`)."""
    from ray._private import utils

    utils.set_sigterm_handler = lambda sigterm_handler: None


def _take_signals_back() -> None:
    """Put Python's handlers in the place of those that Ray's core worker has set in C++ (2.60): from a SIGTERM on they
    leave a process three seconds before they abort it."""
    if threading.current_thread() is threading.main_thread():
        for number in (signal.SIGINT, signal.SIGTERM):
            handler = signal.getsignal(number)
            if handler is not None:
                signal.signal(number, handler)


def _set_environment() -> None:
    """Set the environment variables that Ray reads when it is imported."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    # After a stop the executor's thread may touch Ray once more; it must not start another one by that.
    os.environ["RAY_ENABLE_AUTO_CONNECT"] = "0"


def _quiet(verbose: bool) -> None:
    """Silence Ray's own progress and notices unless they are asked for."""
    _set_environment()
    # Ray starts its processes by exec, right after the fork that Lance warns of.
    warnings.filterwarnings("ignore", message="lance is not fork-safe")
    if verbose:
        return
    os.environ["RAY_DATA_DISABLE_PROGRESS_BARS"] = "1"
    warnings.filterwarnings("ignore", module=r"ray\.data")
    import ray.data
    from ray.data._internal.logging import configure_logging

    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    configure_logging()
    for name in ("ray", "ray.data"):
        # What goes wrong reaches the user through the run's own report.
        logging.getLogger(name).setLevel(logging.CRITICAL)


@contextmanager
def fragment_tasks(config: ClusterConfig, rows: int) -> Iterator[RunTasks]:
    """Gives a function that runs work over pieces of a table of so many rows: in this process, or connected to Ray
    while entered."""
    small = config.address is None and rows <= SMALL_ROWS
    if config.executor == "local" or (config.executor == "auto" and small):
        yield tasks_here
        return
    with ray_cluster(config, (), verbose=False):
        yield tasks_on_ray
