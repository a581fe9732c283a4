"""The columns that a run writes, as the tables have them: other jobs may add or drop columns, or make them anew,
meanwhile."""

from collections.abc import Callable
from dataclasses import replace

from jobs.embedding.prepared import Prepared
from pipelines.commits.committer import Committer
from pipelines.commits.sink import Sink


class WrittenColumns:
    """Holds the plan's sink, fitted to the columns that are there."""

    def __init__(self, prepared: Prepared, committer: Committer, note: Callable[[str], None]) -> None:
        self._table = prepared.config.table
        self._planned = prepared.pipeline.sink
        self._committer = committer
        self._note = note
        self._left_null: tuple[str, ...] = ()
        """Derived columns that were dropped or made anew meanwhile: they are null in rows written since."""
        self.sink = self._sink()

    def _sink(self) -> Sink:
        vectors, failures = self._committer.written
        return replace(self._planned, vectors_schema=vectors, failures_schema=failures)

    def refit(self) -> bool:
        """Fit the sink to the tables' columns. True where they are others now and rows of this run fit them, so that
        what is left can be written again."""
        before = self.sink.vectors_schema.names
        if not self._committer.refit():
            return False
        self.sink = self._sink()
        self._note("the table's columns were changed meanwhile: what was not published is written again")
        gone = tuple(name for name in before if name not in self.sink.vectors_schema.names)
        if gone:
            self._left_null += gone
            self._note(self.about_left_null())
        return True

    def about_left_null(self) -> str:
        """A sentence for the report; empty where there is nothing to say."""
        if not self._left_null:
            return ""
        return (
            f"{', '.join(self._left_null)} was dropped or made anew while this run was on: rows that it wrote since "
            f"are null there, until `pixlake reduce {self._table} COLUMN` fills them"
        )
