"""`pixlake VERB …`: one file a verb under `jobs/commands/`, each of which imports its job only when it is used."""

import atexit
import os
import signal
import sys
from collections.abc import Callable
from importlib.metadata import version
from types import FrameType
from typing import Annotated, Any

import typer

from jobs.commands.add_column import add_column
from jobs.commands.audit import audit
from jobs.commands.benchmark import benchmark
from jobs.commands.classify import classify
from jobs.commands.cluster import cluster
from jobs.commands.delete import delete
from jobs.commands.describe import describe
from jobs.commands.diff import diff
from jobs.commands.distil import distil
from jobs.commands.drift import drift
from jobs.commands.duplicates import duplicates
from jobs.commands.embed import embed
from jobs.commands.evaluate import evaluate
from jobs.commands.export import export
from jobs.commands.failures import failures
from jobs.commands.fit_pca import fit_pca
from jobs.commands.index import index
from jobs.commands.map import map
from jobs.commands.models import models
from jobs.commands.nightly import nightly
from jobs.commands.options import Exit, print_result
from jobs.commands.panels import PanelledGroup
from jobs.commands.plan import plan
from jobs.commands.reduce import reduce
from jobs.commands.refresh import refresh
from jobs.commands.report import report
from jobs.commands.rewrite import rewrite
from jobs.commands.search import search
from jobs.commands.serve import serve
from jobs.commands.swap import swap
from jobs.commands.tag import tag
from jobs.commands.train_head import train_head
from jobs.commands.tune import tune
from jobs.commands.upkeep import upkeep
from jobs.session.interrupts import StopEvent
from jobs.session.sudden_end import sudden_end
from jobs.session.watched import ChildEnd, say_ended, watch

PANELS: dict[str, tuple[Callable[..., None], ...]] = {
    "Choose a model": (models, benchmark, plan),
    "Fill a table": (embed, failures, describe, audit),
    "Search it and look at it": (search, serve, map, report),
    "Shape and judge its vectors": (
        *(fit_pca, train_head, reduce, index, evaluate),
        *(cluster, classify, duplicates, export),
    ),
    "Make a model your own": (tune, distil),
    "Keep it true": (refresh, delete, swap, add_column, drift, diff, tag, upkeep, rewrite, nightly),
}
"""What a verb is for -> the verbs, as `pixlake --help` lists them."""

app = typer.Typer(
    help="Embed images into a searchable LanceDB table, exactly once, on Ray Data.",
    cls=PanelledGroup,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


def _show_version(asked: bool) -> None:
    if asked:
        print_result(f"pixlake {version('pixlake')}", as_json=False)
        raise typer.Exit


@app.callback()
def _options(
    shown: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    pass


for panel, verbs in PANELS.items():
    for verb in verbs:
        app.command(rich_help_panel=panel)(verb)

WATCHED = (
    "embed",
    "refresh",
    "swap",
    "nightly",
    "reduce",
    "fit-pca",
    "train-head",
    "tune",
    "distil",
    "index",
    "export",
    "duplicates",
    "cluster",
    "classify",
)
"""Verbs that may run on Ray, which ends a process without a word: a parent watches them."""

TYPER_INTERRUPTED = 130
"""What typer makes of a `KeyboardInterrupt`."""


def main(arguments: list[str] | None = None) -> None:
    """The `pixlake` command. Exit codes: 0 complete, 1 failed, 2 bad usage or configuration, 3 a gate failed, or
    an audit found faults, 4 too many failures, 75 resumable."""
    # Read when Lance is imported. It warns at each replacement of a column; that is tested here, conflict by conflict.
    # And each time that a table is opened of each index of a newer Lance: `pixlake describe` says so, with the cure.
    os.environ.setdefault("LANCE_LOG", "warn,lance_table::transaction::manifest_build=error,lance::index=error")
    given = fill_retry_class(sys.argv[1:] if arguments is None else arguments)
    if arguments is None and given and given[0] in WATCHED:
        ended = watch()
        if ended is not None:
            sys.exit(_end_of(given, ended))
    end = _ProcessEnd()
    if arguments is None:
        # First, and so called last: after whatever the work registers.
        atexit.register(end.leave)
        # Also while libraries are imported: a job catches both signals itself once it is there.
        signal.signal(signal.SIGTERM, _on_signal)
        # A shell starts what runs in the background with SIGINT ignored. Watched verbs take one all the same.
        if signal.getsignal(signal.SIGINT) in (signal.default_int_handler, signal.SIG_IGN):
            signal.signal(signal.SIGINT, _on_signal)
    try:
        sys.exit(_guarded(lambda: _run(given)))
    except SystemExit as ended:
        end.code = ended.code if isinstance(ended.code, int) else None
        say_ended(0 if ended.code is None else 1 if end.code is None else end.code)
        raise
    except BaseException:
        say_ended(1)
        raise


_INTERRUPTED = StopEvent()
"""Somebody has asked this process to end."""


def _on_signal(number: int, frame: FrameType | None) -> None:
    _INTERRUPTED.set()
    raise KeyboardInterrupt


def _end_of(given: list[str], ended: ChildEnd) -> int:
    """The exit code of a command whose child is over. Where the child could not, this says how it ended and gives its
    report."""
    if ended.code is not None:
        return ended.code
    end = sudden_end(ended.status, ended.native, on_ray=bool(ended.words.get("on_ray")))
    result: dict[str, Any] = {"status": end.status, "message": end.message}
    kept = ended.words.get("embed")
    if sys.stderr.isatty():
        # The child may have left a line half drawn, and the cursor hidden.
        sys.stderr.write("\r\x1b[K\x1b[?25h")
    print(f"pixlake: {end.message}", file=sys.stderr)
    if kept is not None:
        from jobs.session.last_report import finish_report

        report, trouble = finish_report(kept, end)
        if trouble:
            print(f"pixlake: {trouble}", file=sys.stderr)
        if given[0] == "embed":
            result = report.model_dump(mode="json")
    if "--json" in given:
        print_result(result, True)
    return Exit.RESUMABLE if end.status == "interrupted" else Exit.FAILED


class _ProcessEnd:
    """How the process ends: with the command's own exit code, whatever native libraries do when they are torn down.

    Now and then Arrow's threads abort the process there (exit code 134) when all is done (apache/arrow#34314).
    """

    code: int | None = None
    """The command's; None until it has ended, and where it ends in a traceback."""

    def leave(self) -> None:
        if self.code is None:
            return
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(self.code)


def fill_retry_class(arguments: list[str]) -> list[str]:
    """`--retry-failed` may stand alone: `all` is inserted after it unless a class follows."""
    from operators.base.errors import ErrorClass

    filled: list[str] = []
    for i, argument in enumerate(arguments):
        filled.append(argument)
        following = arguments[i + 1] if i + 1 < len(arguments) else ""
        if argument == "--retry-failed" and following not in (*ErrorClass, "all"):
            filled.append("all")
    return filled


def _run(arguments: list[str]) -> object:
    from operators.base.failpoints import switch_on

    switch_on()
    return app(arguments, standalone_mode=True)


def _guarded(call: Callable[[], object]) -> int:
    try:
        call()
    except Exception as error:
        from operators.base.errors import UserError, printable_lines
        from operators.storage.no_space import is_no_space
        from operators.storage.redact import redact
        from operators.storage.uris import StorageError
        from pipelines.scan.plain import FILE_GONE, STORAGE_FAILED, about_failed_storage
        from pipelines.table.errors import TableError

        storage = isinstance(error, ValueError) and str(error).startswith(STORAGE_FAILED)
        if storage or (isinstance(error, OSError) and str(error).startswith(FILE_GONE)):
            error = OSError(f"the table {about_failed_storage(error)}")
        if not isinstance(error, (UserError, StorageError, TableError, OSError)):
            if _INTERRUPTED.is_set():
                # A library that swallowed the interruption and fell over what it had left undone, as numba has.
                return _say_interrupted()
            raise
        full = is_no_space(error)
        again = "; make room there, and run the same command again" if full else ""
        print(f"pixlake: {printable_lines(redact(str(error)))}{again}", file=sys.stderr)
        if full:
            return Exit.RESUMABLE
        return Exit.USAGE if isinstance(error, (UserError, StorageError)) else Exit.FAILED
    except SystemExit as ended:
        if ended.code != TYPER_INTERRUPTED:
            raise
        return _say_interrupted()
    return Exit.COMPLETE


def _say_interrupted() -> int:
    print("pixlake: interrupted", file=sys.stderr)
    return Exit.RESUMABLE
