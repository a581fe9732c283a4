"""The sentence, the exit code and the status for a command whose process was ended from outside, or by a library."""

import signal
from dataclasses import dataclass
from typing import Literal

from operators.base.errors import clean_message

GO_ON = "What is committed stays: run the same command again to go on from there"


@dataclass(frozen=True, kw_only=True)
class SuddenEnd:
    status: Literal["interrupted", "failed"]
    """As in a report: `interrupted` where the same command goes on from there."""
    message: str


def sudden_end(status: int, native: str, *, on_ray: bool) -> SuddenEnd:
    """What to say of a process that ended with this exit code (negative: by that signal) without a word of its own.

    `native`: what libraries wrote to file descriptor 2. `on_ray`: it was connected to Ray.
    """
    if status >= 0:
        if not on_ray:
            return SuddenEnd(status="failed", message=f"a library ended the process with exit code {status}. {GO_ON}")
        return SuddenEnd(
            status="interrupted",
            message=f"Ray has ended the run: its head (GCS) or this node's raylet is gone{_about_gcs(native)}. {GO_ON}",
        )
    name = signal.Signals(-status).name
    if name == "SIGKILL":
        why = "the process was killed (SIGKILL): by the kernel where memory ran out, by a scheduler, or by hand"
        return SuddenEnd(status="interrupted", message=f"{why}. {GO_ON}")
    if name in ("SIGTERM", "SIGINT", "SIGHUP"):
        return SuddenEnd(status="interrupted", message=f"the process was ended by {name}. {GO_ON}")
    return SuddenEnd(
        status="failed",
        message=f"a native library crashed the process ({name}{_last_line(native)}). {GO_ON}; where it crashes again, "
        "--verbose shows what the library wrote",
    )


def _last_line(native: str) -> str:
    """The last line that is no frame of a stack trace."""
    found = [line for line in native.splitlines() if line.strip() and "(+0x" not in line and ".so" not in line]
    return f": {clean_message(found[-1])}" if found else ""


def _about_gcs(native: str) -> str:
    """What Ray says of a head that does not answer; it says nothing where its raylet dies."""
    found = [line for line in native.splitlines() if "Failed to connect to GCS" in line]
    return f" ({found[-1][found[-1].index('Failed to connect') :].split('. ')[0]})" if found else ""
