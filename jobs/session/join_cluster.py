"""A Ray cluster that is there already: joined, or refused in words where none answers."""

import logging
import os
import socket
import sys
from collections.abc import Sequence

from jobs.session.native_output import kept_native_output
from operators.base.errors import UserError
from pipelines.run.cluster import ClusterConfig
from pipelines.run.resources import fit
from pipelines.run.stage import Stage

KNOCK_S = 10.0
_REFUSED = ("InvalidAuthToken", "Unauthenticated", "Authentication token", "AuthenticationError")
"""How Ray says that a token is missing or wrong, most of it on file descriptor 2 alone."""


def join(config: ClusterConfig, stages: Sequence[Stage], verbose: bool) -> tuple[Stage, ...]:
    """Connect to the cluster at `config.address`; gives the stages sized to it. Raises `UserError` where none answers,
    where it refuses this machine, and where the pools do not fit."""
    import ray

    address = config.address or ""
    _knock(address)
    with kept_native_output() as native:
        try:
            _ask_head(address)
            ray.init(address=address, log_to_driver=verbose, logging_level=logging.INFO if verbose else logging.ERROR)
        except (ConnectionError, RuntimeError, ray.exceptions.RayError) as error:
            said = f"{error}\n{native()}"
            if any(mark in said for mark in _REFUSED):
                raise UserError(
                    f"cluster.address {address!r}: the Ray cluster there refuses this machine: its token is "
                    "missing here or is another. Give the cluster's own, as RAY_AUTH_TOKEN, as a file named by "
                    "RAY_AUTH_TOKEN_PATH or as ~/.ray/auth_token, with RAY_AUTH_MODE=token"
                ) from None
            if isinstance(error, RuntimeError):
                raise
            raise _nobody_answers(address, str(error)) from None
    if os.environ.get("RAY_AUTH_MODE", "").lower() != "token":
        warn(
            f"cluster.address {address!r}: this Ray cluster asks for no token: whoever reaches it can run code "
            "there, and read what this run reads; start it with RAY_AUTH_MODE=token"
        )
    try:
        return sized_to_cluster(config, stages)
    except UserError:
        ray.shutdown()
        raise


def sized_to_cluster(config: ClusterConfig, stages: Sequence[Stage]) -> tuple[Stage, ...]:
    """The stages sized to the nodes that the joined cluster has now. Raises `PlanError` where they do not fit."""
    import ray

    there = ray.cluster_resources()
    return fit(
        stages,
        num_cpus=there.get("CPU", 0.0),
        num_gpus=there.get("GPU", 0.0),
        num_writers=config.num_writers,
        custom=there,
    )


def warn(text: str) -> None:
    print(f"warning: {text}", file=sys.stderr)


def _nobody_answers(address: str, why: str) -> UserError:
    return UserError(
        f"cluster.address {address!r}: no Ray cluster answers there ({why}). Start one with `ray start --head`, name "
        "its address, or leave cluster.address out to run on this machine"
    )


def _knock(address: str) -> None:
    """Raise `UserError` where nobody listens at HOST:PORT: Ray (2.60) would go on asking, for minutes at least."""
    if address == "auto":
        return
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=KNOCK_S).close()
    except OSError as error:
        raise _nobody_answers(address, str(error)) from None


def _ask_head(address: str) -> None:
    """Ask once whether a head is there: `ray.init` (2.60) asks one that listens and does not answer 20 times, 40 s
    each. Raises Ray's own errors."""
    from ray._private.services import canonicalize_bootstrap_address
    from ray._raylet import GcsClient  # type: ignore[attr-defined]

    GcsClient(address=canonicalize_bootstrap_address(address))
