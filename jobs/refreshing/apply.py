"""What a refresh does without fetching anything: rows carried, marked and deleted, wave by wave."""

import threading
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import UTC, datetime

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from jobs.refreshing.config import WhenGone
from operators.base.counted import counted
from operators.base.failpoints import failpoint
from pipelines.commits.committer import Committer
from pipelines.refresh.carries import marked, source_values, waves
from pipelines.refresh.changes.changes import OLD_IN, Changes, ImageState
from pipelines.refresh.delta import old_positions
from pipelines.table.tasks import RunTasks


class Applied:
    """The changes of one refresh that need no image, and how many of them another tool was ahead of."""

    def __init__(
        self,
        changes: Changes,
        committer: Committer,
        *,
        deleted: WhenGone,
        carried: tuple[ImageState, ...],
        taken: set[int],
        execute: RunTasks,
        stop: threading.Event,
        phase: Callable[[str], None],
    ) -> None:
        """`carried` are the states whose rows get what the source says now; `taken` are positions of deleted images
        whose rows have become those of another key."""
        self._changes, self._committer = changes, committer
        self._deleted, self._carried = deleted, carried
        self._taken = np.array(sorted(taken), np.int64)
        self._execute, self._stop, self._phase = execute, stop, phase
        self.done: Counter[str] = Counter()
        self.gone_meanwhile = 0

    def run(self) -> bool:
        """Do all; false where a stop was asked for in between. Raises as `Committer.carry` does."""
        if self._deleted == "mark" and any(len(keys) for keys in self._positions("deleted", "vectors")):
            self._committer.add_deleted_at()
        for name, values in self._waves():
            if self._stop.is_set():
                return False
            self._phase(f"writing {counted(values.num_rows, f'{name} image')} again")
            done = self._committer.carry(values, self._execute)
            self.done[name] += len(done.carried)
            self.gone_meanwhile += done.gone
        if self._stop.is_set():
            return False
        failpoint("refresh.applied")
        self._delete()
        return True

    def _waves(self) -> Iterator[tuple[str, pa.Table]]:
        for state in self._carried:
            for rows in waves(self._changes.rows(state)):
                yield state, source_values(rows, self._changes.kept, self._committer.schema)
        if self._deleted == "mark":
            now = datetime.now(UTC)
            for keys in self._positions("deleted", "vectors"):
                if len(keys):
                    yield "deleted", marked(keys, now)

    def _delete(self) -> None:
        vectors = [*self._positions("repeated", "vectors")]
        failures = [*self._positions("stale", "failures")]
        if self._deleted != "keep":
            failures += self._positions("deleted", "failures")
        if self._deleted == "drop":
            vectors += [*self._positions("deleted", "vectors"), *self._positions("gone", "vectors")]
        found = [np.unique(np.concatenate([np.zeros(0, np.int64), *keys])) for keys in (vectors, failures)]
        in_vectors, in_failures = self._committer.delete_positions(found[0], found[1])
        self.done["rows deleted"] += in_vectors
        self.done["failures deleted"] += in_failures

    def _positions(self, state: ImageState, table: str) -> Iterator[np.ndarray]:
        """Positions of rows in one of the tables, without those that are another key's now."""
        for rows in waves(self._changes.rows(state)):
            mine = rows.filter(pc.equal(rows[OLD_IN.name], table))
            keys = old_positions(mine.combine_chunks())
            yield keys[~np.isin(keys, self._taken)]
