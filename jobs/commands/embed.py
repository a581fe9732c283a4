"""`pixlake embed`: arguments in, the job called, its report printed."""

from typing import Annotated, Any

import typer

from jobs.commands.options import Configs, Exit, Json, Sets, TableArgument, importing, print_result
from jobs.commands.without_pandas import leave_out_pandas


def embed(
    source: Annotated[str, typer.Argument(metavar="SOURCE", help="A manifest, glob, folder, prefix or image.")],
    table: TableArgument,
    model: Annotated[
        list[str] | None,
        typer.Option(metavar="[NAME=]MODEL", help="A model, see `pixlake models`. Several times: a column each."),
    ] = None,
    config: Configs = None,
    sets: Sets = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Only the first rows of the manifest.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the plan and start nothing.")] = False,
    rename: Annotated[
        list[str] | None,
        typer.Option(metavar="OLD=NEW", help="Call a kept column otherwise in the table; may be repeated."),
    ] = None,
    skip_existing: Annotated[bool, typer.Option("--skip-existing", help="Leave out ids the table has.")] = False,
    again: Annotated[
        bool, typer.Option("--again", help="Embed ids a second time that another manifest holds.")
    ] = False,
    retry_failed: Annotated[
        str | None, typer.Option(metavar="[CLASS]", help="Take failures again, all or of one class.")
    ] = None,
    max_failed: Annotated[
        float | None,
        typer.Option(
            metavar="SHARE", min=0, max=1, help="Failed rows above this share end in exit code 4. Default: 0.5."
        ),
    ] = None,
    overwrite: Annotated[
        int,
        typer.Option(
            "--overwrite",
            count=True,
            show_default=False,
            help="Delete the table first; twice if Pixlake did not make it.",
        ),
    ] = 0,
    deleted: Annotated[
        str | None,
        typer.Option(
            metavar="WHAT", help="Rows that were deleted since: `keep-out` records them, `restore` embeds them."
        ),
    ] = None,
    abandon: Annotated[str | None, typer.Option(metavar="RUN_ID", help="Give up an unfinished run.")] = None,
    verbose: Annotated[bool, typer.Option("--verbose", help="Show Ray's own output.")] = False,
    as_json: Json = False,
) -> None:
    """Embed the images of SOURCE into TABLE. The same command again resumes, or does nothing."""
    with importing():
        leave_out_pandas()
        from jobs.config.model_names import models_named
        from jobs.config.renamings import renamings
        from jobs.embed import load, plan, run, summary

    base: dict[str, Any] = {"source": {"uri": source}, "table": table}
    given = {
        "skip_existing": skip_existing or None,
        "again": again or None,
        "retry_failed": retry_failed,
        "max_failed": max_failed,
        "overwrite": overwrite or None,
        "deleted": deleted,
        "abandon": abandon,
        "verbose": verbose or None,
    }
    base |= {key: value for key, value in given.items() if value is not None}
    if rename:
        base["source"]["rename"] = renamings(rename)
    if limit is not None:
        base["source"]["limit"] = limit
    if model:
        base |= models_named(model)
    loaded = load(files=config or (), sets=sets or (), base=base)
    if dry_run:
        planned = plan(loaded)
        print_result(planned.to_dict() if as_json else planned.text(), as_json)
        return
    report = run(loaded)
    print_result(report.model_dump(mode="json") if as_json else summary(report), as_json)
    if report.too_many_failed:
        raise typer.Exit(Exit.MANY_FAILED)
    raise typer.Exit({"complete": Exit.COMPLETE, "interrupted": Exit.RESUMABLE}.get(report.status, Exit.FAILED))
