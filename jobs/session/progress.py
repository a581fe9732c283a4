"""What a job shows on stderr: one live line for a person, plain lines at intervals for a log."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Self

from rich.console import Console, RenderableType
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from operators.base.errors import printable, printable_lines

LINE_INTERVAL_S = 10.0
_BEAT_S = 1.0
_BAR_WIDTH = 24


class Progress:
    """How far a job is, shown on stderr. Not thread-safe.

    A phase that lasts is shown again with its seconds, so that nobody asks whether it hangs.
    """

    def __init__(self) -> None:
        self.console = Console(stderr=True, highlight=False)
        self.live = self.console.status("starting", spinner="line") if self.console.is_terminal else None
        self.last_line = time.monotonic()
        self._doing: tuple[str, float] | None = None
        """The phase under way, and when it began."""
        self._over = threading.Event()

    def __enter__(self) -> Self:
        if self.live:
            self.live.start()
        threading.Thread(target=self._beat, name="progress", daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        if self.live:
            self.live.stop()

    def _beat(self) -> None:
        while not self._over.wait(_BEAT_S):
            self.still()

    def note(self, text: str) -> None:
        """Print one plain line that stays."""
        self.last_line = time.monotonic()
        self.console.print(printable_lines(text), markup=False, soft_wrap=True)

    def phase(self, text: str) -> None:
        """Show what goes on before rows flow."""
        self._doing = (text, time.monotonic())
        if self.live:
            self.live.update(Text(printable(text)))
        else:
            self.note(text)

    def still(self) -> None:
        """Show how long the phase has lasted: each second for a person, at intervals in a log."""
        doing = self._doing
        if doing is None:
            return
        text = f"{doing[0]}, {duration(time.monotonic() - doing[1])}"
        if self.live:
            self.live.update(Text(printable(text)))
        elif time.monotonic() - self.last_line >= LINE_INTERVAL_S:
            self.note(f"{text} so far")

    def counted(self, text: str, share: float | None = None) -> None:
        """Show how far the job is: at once for a person, at intervals in a log. `share`, of 0 to 1, is a bar to a
        person."""
        self._doing = None
        if self.live:
            self.live.update(_with_bar(text, share))
        elif time.monotonic() - self.last_line >= LINE_INTERVAL_S:
            self.note(text)


def _with_bar(text: str, share: float | None) -> RenderableType:
    words = Text(printable(text), no_wrap=True, overflow="ellipsis")
    if share is None:
        return words
    line = Table.grid(padding=(0, 1))
    line.add_row(ProgressBar(total=1.0, completed=min(max(share, 0.0), 1.0), width=_BAR_WIDTH), words)
    return line


@contextmanager
def working(text: str) -> Iterator[None]:
    """Shows on stderr that something takes a while, as a phase of a job."""
    with Progress() as progress:
        progress.phase(text)
        yield


def duration(seconds: float) -> str:
    """`2 h 05 min`, `3 min 20 s`, `7 s`."""
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes:02d} min"
    return f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"
