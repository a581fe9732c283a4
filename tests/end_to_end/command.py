"""The `pixlake` command, as a process of its own and, where processes are not the point, called in this one."""

import contextlib
import io
import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jobs.cli import main

PIXLAKE = Path(sys.executable).parent / "pixlake"
LOCAL = ("--model", "null", "--set", "cluster.executor=local")
"""The null model, all stages in one process."""
RAY = ("--model", "null", "--set", "cluster.executor=ray")
HERE = ("--set", "cluster.executor=local", "--set", "decode.isolate=false")
"""Decoding in it too: for runs by `pixlake_here` that are to go on where a process was ended."""
LOOPBACK = ("--set", "fetch.allowed_cidrs=[127.0.0.0/8]")
"""Images of a server on this machine may be fetched."""


@dataclass(frozen=True)
class Ended:
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> dict[str, Any]:
        """Standard output, which must be one JSON object and nothing else."""
        value: dict[str, Any] = json.loads(self.out)
        return value


def start(*arguments: str, environment: Mapping[str, str] = {}) -> "subprocess.Popen[str]":
    """The command as a process in a session of its own, so that a signal meant for it reaches nothing else."""
    return subprocess.Popen(
        [PIXLAKE, *arguments],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        env={**os.environ, **environment},
    )


def end(process: "subprocess.Popen[str]", timeout: float = 400.0) -> Ended:
    out, err = process.communicate(timeout=timeout)
    return Ended(process.returncode, out, err)


def pixlake(*arguments: str, environment: Mapping[str, str] = {}) -> Ended:
    return end(start(*arguments, environment=environment))


def embed_here(source: str, table: str, *arguments: str) -> Ended:
    """`pixlake embed` with the null model, all of it in this process: no start-up to wait for, 1 s instead of 6."""
    return pixlake_here("embed", source, table, *LOCAL, "--set", "decode.isolate=false", *arguments)


def pixlake_here(*arguments: str) -> Ended:
    out, err = io.StringIO(), io.StringIO()
    code: Any = 0
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            main(list(arguments))
        except SystemExit as exit:
            code = exit.code
    return Ended(int(code or 0), out.getvalue(), err.getvalue())
