"""What a job shows on stderr: one live line for a person, plain lines at intervals for a log."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Self

from rich.console import Console

LINE_INTERVAL_S = 10.0


class Progress:
    """How far a job is, shown on stderr. Not thread-safe."""

    def __init__(self) -> None:
        self.console = Console(stderr=True, highlight=False)
        self.live = self.console.status("starting", spinner="line") if self.console.is_terminal else None
        self.last_line = time.monotonic()

    def __enter__(self) -> Self:
        if self.live:
            self.live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self.live:
            self.live.stop()

    def note(self, text: str) -> None:
        """Print one plain line that stays."""
        self.console.print(text, markup=False, soft_wrap=True)

    def phase(self, text: str) -> None:
        """Show what goes on before rows flow."""
        if self.live:
            self.live.update(text)
        else:
            self.note(text)

    def counted(self, text: str) -> None:
        """Show how far the job is: at once for a person, at intervals in a log."""
        if self.live:
            self.live.update(text)
        elif time.monotonic() - self.last_line >= LINE_INTERVAL_S:
            self.last_line = time.monotonic()
            self.note(text)


@contextmanager
def working(text: str) -> Iterator[None]:
    """Shows on stderr that something takes a while: a spinner for a person, one line for a log."""
    console = Console(stderr=True, highlight=False)
    if not console.is_terminal:
        console.print(text, markup=False)
        yield
        return
    with console.status(text, spinner="line"):
        yield


def duration(seconds: float) -> str:
    """`2 h 05 min`, `3 min 20 s`, `7 s`."""
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes:02d} min"
    return f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"
