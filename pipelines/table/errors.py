"""What can be wrong with a table; each error says where and what to do."""

from operators.base.errors import UserError


class TableError(RuntimeError):
    """The table cannot be read or written as asked."""


class RefusedError(TableError, UserError):
    """Pixlake will not touch this table, store or manifest as things stand; nothing was changed."""


class ClaimLostError(TableError, UserError):
    """Another run claimed the table first; this one has published nothing."""


class FencedError(TableError):
    """A later run has taken the table over. What this run had published stays; it can publish no more."""


class TableGoneError(TableError, UserError):
    """The table was moved away or dropped while it was being written to. Nothing was put in its place."""

    def __init__(self, uri: str) -> None:
        super().__init__(
            f"{uri}: the table is gone: it was moved away or dropped while this run was writing to it. Nothing was put "
            "in its place; move it back, and the same command goes on from there, or run it again to begin anew"
        )


class CommitFailedError(TableError):
    """A commit did not get through, however often it was tried. Nothing of the wave is lost: rerun the same command."""


class NoSpaceError(TableError):
    """A disk is full. Nothing is torn: with room on it the same command goes on."""


class SchemaChangedError(TableError, UserError):
    """Rows were written for a schema that the table no longer has; they were not published. Written anew they may
    fit."""


class CorruptTableError(TableError):
    """A position stands in a table more than once: another tool has written to it, or Pixlake has a defect."""


class FilterIndexError(TableError):
    """An index answers a filter otherwise than a scan does: it was not published. All else that was asked for is
    done."""


class RecallError(TableError):
    """The index recall is under its target: it was not published, and what was in force still is."""
