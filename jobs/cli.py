"""`pixlake VERB …`: arguments in, one job called, its result printed. Imports a job only when its verb is used."""

import json
import sys
from collections.abc import Callable
from enum import IntEnum
from typing import Annotated, Any

import typer

app = typer.Typer(
    help="Embed images into a searchable LanceDB table, exactly once, on Ray Data.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


TYPER_INTERRUPTED = 130
"""What typer makes of a `KeyboardInterrupt`."""


class Exit(IntEnum):
    COMPLETE = 0
    FAILED = 1
    USAGE = 2
    RESUMABLE = 75


Table = Annotated[str, typer.Argument(metavar="TABLE", help="DB/NAME, as in ./lake/photos or s3://bucket/lake/photos.")]
Sets = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Override one value: --set cluster.batch_size=64."),
]
Configs = Annotated[
    list[str] | None, typer.Option("--config", metavar="FILE", help="YAML, or a name in conf/: clusters/gpu-cluster.")
]
Json = Annotated[bool, typer.Option("--json", help="One JSON object on stdout, nothing else there.")]


@app.command()
def embed(
    source: Annotated[str, typer.Argument(metavar="SOURCE", help="A manifest, glob, folder, prefix or image.")],
    table: Table,
    model: Annotated[
        list[str] | None,
        typer.Option(metavar="[NAME=]MODEL", help="A model, see `pixlake models`. Several times: a column each."),
    ] = None,
    config: Configs = None,
    sets: Sets = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Only the first rows of the manifest.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the plan and start nothing.")] = False,
    skip_existing: Annotated[bool, typer.Option("--skip-existing", help="Leave out ids the table has.")] = False,
    retry_failed: Annotated[
        str | None, typer.Option(metavar="[CLASS]", help="Take failures again, all or of one class.")
    ] = None,
    overwrite: Annotated[
        int, typer.Option("--overwrite", count=True, help="Delete the table first; twice if Pixlake did not make it.")
    ] = 0,
    abandon: Annotated[str | None, typer.Option(metavar="RUN_ID", help="Give up an unfinished run.")] = None,
    verbose: Annotated[bool, typer.Option("--verbose", help="Show Ray's own output.")] = False,
    as_json: Json = False,
) -> None:
    """Embed the images of SOURCE into TABLE. The same command again resumes, or does nothing."""
    from jobs.embed import load, plan, run, summary
    from jobs.model_names import models_named

    base: dict[str, Any] = {"source": {"uri": source}, "table": table}
    given = {
        "skip_existing": skip_existing or None,
        "retry_failed": retry_failed,
        "overwrite": overwrite or None,
        "abandon": abandon,
        "verbose": verbose or None,
    }
    base |= {key: value for key, value in given.items() if value is not None}
    if limit is not None:
        base["source"]["limit"] = limit
    if model:
        base |= models_named(model)
    loaded = load(files=config or (), sets=sets or (), base=base)
    if dry_run:
        planned = plan(loaded)
        _print(planned.to_dict() if as_json else planned.text(), as_json)
        return
    report = run(loaded)
    _print(report.model_dump(mode="json") if as_json else summary(report), as_json)
    raise typer.Exit({"complete": Exit.COMPLETE, "interrupted": Exit.RESUMABLE}.get(report.status, Exit.FAILED))


@app.command()
def search(
    table: Table,
    image: Annotated[str | None, typer.Option(help="An image file or URI to search by.")] = None,
    text: Annotated[str | None, typer.Option(help="Words to search by, where the model has a text tower.")] = None,
    row_id: Annotated[str | None, typer.Option("--id", help="A row of the table to search by.")] = None,
    column: Annotated[
        str | None, typer.Option(metavar="NAME", help="The vector column, where the table has several.")
    ] = None,
    k: Annotated[int, typer.Option("-k", min=1, help="How many results.")] = 10,
    where: Annotated[str | None, typer.Option(metavar="SQL", help="Only rows that match.")] = None,
    config: Configs = None,
    sets: Sets = None,
    as_json: Json = False,
) -> None:
    """Find the images nearest to an image, to words, or to a row of the table."""
    from jobs.config import load_config
    from jobs.search import SearchConfig, as_text, run

    base = {"table": table, "image": image, "text": text, "id": row_id, "column": column, "k": k, "where": where}
    found = run(load_config(SearchConfig, files=config or (), sets=sets or (), base=base))
    _print(found.model_dump(mode="json") if as_json else as_text(found), as_json)


@app.command()
def describe(table: Table, config: Configs = None, sets: Sets = None, as_json: Json = False) -> None:
    """What a table holds: rows, model, space, manifests, runs."""
    from jobs.config import load_config
    from jobs.describe import DescribeConfig, as_text, run

    described = run(load_config(DescribeConfig, files=config or (), sets=sets or (), base={"table": table}))
    _print(described.model_dump(mode="json") if as_json else as_text(described), as_json)


@app.command()
def failures(
    table: Table,
    error_class: Annotated[str | None, typer.Option("--class", metavar="CLASS", help="Only this class.")] = None,
    stage: Annotated[str | None, typer.Option(help="Only failures of this operator.")] = None,
    contains: Annotated[str | None, typer.Option(metavar="TEXT", help="Only URIs that contain this.")] = None,
    limit: Annotated[int, typer.Option(min=0, help="Rows to show.")] = 20,
    config: Configs = None,
    sets: Sets = None,
    as_json: Json = False,
) -> None:
    """Which images gave no vector, and why."""
    from jobs.config import load_config
    from jobs.failures import FailuresConfig, as_text, run

    base = {"table": table, "error_class": error_class, "stage": stage, "contains": contains, "limit": limit}
    listed = run(load_config(FailuresConfig, files=config or (), sets=sets or (), base=base))
    _print(listed.model_dump(mode="json") if as_json else as_text(listed), as_json)


@app.command()
def models(
    name: Annotated[str | None, typer.Argument(metavar="NAME", help="A model to show, or open_clip or timm.")] = None,
    config: Configs = None,
    sets: Sets = None,
    as_json: Json = False,
) -> None:
    """Models by name; with a NAME, its size and preprocessing, with `--set model.KEY=VALUE` as they would be set."""
    from jobs.config import load_config
    from jobs.models import ModelsConfig, as_text, run

    listed = run(load_config(ModelsConfig, files=config or (), sets=sets or (), base={"name": name}))
    _print(listed.model_dump(mode="json") if as_json else as_text(listed), as_json)


def _print(result: Any, as_json: bool) -> None:
    sys.stdout.write((json.dumps(result, indent=2) if as_json else str(result)) + "\n")


def main(arguments: list[str] | None = None) -> None:
    """The `pixlake` command. Exit codes: 0 complete, 1 failed, 2 bad usage or configuration, 75 resumable."""
    given = fill_retry_class(sys.argv[1:] if arguments is None else arguments)
    sys.exit(_guarded(lambda: app(given, standalone_mode=True)))


def fill_retry_class(arguments: list[str]) -> list[str]:
    """`--retry-failed` may stand alone: `all` is put behind it unless a class follows."""
    from operators.failures import ErrorClass

    filled: list[str] = []
    for i, argument in enumerate(arguments):
        filled.append(argument)
        following = arguments[i + 1] if i + 1 < len(arguments) else ""
        if argument == "--retry-failed" and following not in (*ErrorClass, "all"):
            filled.append("all")
    return filled


def _guarded(call: Callable[[], object]) -> int:
    try:
        call()
    except Exception as error:
        from operators.errors import UserError
        from operators.redact import redact
        from pipelines.table_errors import TableError

        if not isinstance(error, (UserError, TableError, OSError)):
            raise
        print(f"pixlake: {redact(str(error))}", file=sys.stderr)
        return Exit.USAGE if isinstance(error, UserError) else Exit.FAILED
    except SystemExit as ended:
        if ended.code != TYPER_INTERRUPTED:
            raise
        print("pixlake: interrupted", file=sys.stderr)
        return Exit.RESUMABLE
    return Exit.COMPLETE
