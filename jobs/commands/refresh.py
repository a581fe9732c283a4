"""`pixlake refresh`."""

from typing import Annotated, Any

import typer

from jobs.commands.options import Configs, Exit, Json, Sets, TableArgument, importing, print_result


def refresh(
    table: TableArgument,
    source: Annotated[
        str | None, typer.Option(metavar="SOURCE", help="The source, where it is not at the recorded place.")
    ] = None,
    deleted: Annotated[
        str | None,
        typer.Option(metavar="WHAT", help="Images gone from the source: `mark` (the default), `keep` or `drop` them."),
    ] = None,
    max_deleted: Annotated[
        float | None,
        typer.Option(metavar="SHARE", min=0, max=1, help="Refuse if more are gone. Default: 0.1."),
    ] = None,
    check_http: Annotated[
        bool, typer.Option("--check-http", help="Ask the servers of images at http addresses, by their etags.")
    ] = False,
    retry_failed: Annotated[
        str | None,
        typer.Option(metavar="[CLASS]", help="Take failures again that lie in the image, all or of one class."),
    ] = None,
    tag: Annotated[str | None, typer.Option(metavar="NAME", help="Name of the state. Default: today.")] = None,
    keep_versions: Annotated[
        str | None, typer.Option(metavar="N|AGE", help="Versions that stay beside tagged ones. Default: 14d.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what has changed, and change nothing.")] = False,
    config: Configs = None,
    sets: Sets = None,
    as_json: Json = False,
) -> None:
    """Bring TABLE to what its source is now: fetch what is new and what has changed, and nothing else."""
    with importing():
        from jobs.config.load import load_config
        from jobs.refresh import RefreshConfig, as_text, run

    given: dict[str, Any] = {
        "source": {"uri": source} if source is not None else None,
        "deleted": deleted,
        "max_deleted": max_deleted,
        "check_http": check_http or None,
        "retry_failed": retry_failed,
        "tag": tag,
        "keep_versions": keep_versions,
        "dry_run": dry_run or None,
    }
    base = {"table": table, **{key: value for key, value in given.items() if value is not None}}
    report = run(load_config(RefreshConfig, files=config or (), sets=sets or (), base=base))
    print_result(report.model_dump(mode="json") if as_json else as_text(report), as_json)
    raise typer.Exit({"complete": Exit.COMPLETE, "interrupted": Exit.RESUMABLE}.get(report.status, Exit.FAILED))
