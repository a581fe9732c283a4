"""A run cut off at one of its commits, or another tool at work in the middle of it."""

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal
from unittest import mock

import lance

from state_machine.world import STORAGE_FAILS

How = Literal["none", "ctrl-c", "killed before", "killed after", "storage fails", "answer lost", "meanwhile"]
HOWS: tuple[How, ...] = ("ctrl-c", "killed before", "killed after", "storage fails", "answer lost")


class Killed(BaseException):
    """The process is gone: nothing catches it, and nothing is committed after it."""


@dataclass
class Cut:
    """What happens at the `at`th commit."""

    how: How = "none"
    at: int = 0
    meanwhile: Callable[[], None] = lambda: None
    commits: int = field(default=0, init=False)
    came: bool = field(default=False, init=False)
    """Whether there were so many commits."""

    @property
    def killed(self) -> bool:
        return self.came and self.how.startswith("killed")

    @property
    def disturbed(self) -> bool:
        return self.came and self.how != "none"


@contextmanager
def commits_cut(cut: Cut, *, stable_row_ids: bool = False) -> Iterator[None]:
    """Every commit of ours through pylance goes by here; real ones, as the storage would see them.

    With `stable_row_ids` tables are made as the release before 2026-11-28 made them.
    """
    commit, add_columns = lance.LanceDataset.commit, lance.LanceDataset.add_columns

    def cut_commit(*args: Any, **kwargs: Any) -> Any:
        if stable_row_ids:
            kwargs["enable_stable_row_ids"] = True
        return _cut(cut, lambda: commit(*args, **kwargs))

    def cut_add_columns(dataset: Any, *args: Any, **kwargs: Any) -> Any:
        return _cut(cut, lambda: add_columns(dataset, *args, **kwargs))

    with (
        mock.patch.object(lance.LanceDataset, "commit", staticmethod(cut_commit)),
        mock.patch.object(lance.LanceDataset, "add_columns", cut_add_columns),
    ):
        try:
            yield
        except Killed:
            assert cut.killed
        except KeyboardInterrupt:
            # Before a run defers it, Ctrl-C ends the process.
            assert cut.how == "ctrl-c"


def _cut(cut: Cut, commit: Callable[[], Any]) -> Any:
    if cut.killed:
        raise Killed
    cut.commits += 1
    if cut.commits != cut.at or cut.how == "none":
        return commit()
    cut.came = True
    if cut.how == "killed before":
        raise Killed
    if cut.how == "storage fails":
        raise OSError(f"storage: {STORAGE_FAILS}")
    if cut.how == "ctrl-c":
        signal.raise_signal(signal.SIGINT)
    if cut.how == "meanwhile":
        cut.meanwhile()
    made = commit()
    if cut.how == "killed after":
        raise Killed
    if cut.how == "answer lost":
        raise OSError(f"storage: {STORAGE_FAILS} before the answer came")
    return made
