"""`pixlake swap`."""

from typing import Annotated, Any

import typer

from jobs.commands.options import Configs, Exit, Json, Sets, TableArgument, importing, print_result


def swap(
    table: TableArgument,
    model: Annotated[
        str | None, typer.Option(metavar="MODEL", help="The new model; for a setting of the old one --set model.KEY.")
    ] = None,
    source: Annotated[
        str | None, typer.Option(metavar="SOURCE", help="Read images from here, by id: for tars and signed URLs.")
    ] = None,
    column: Annotated[str | None, typer.Option(help="The column to replace, where models fill several.")] = None,
    to: Annotated[str | None, typer.Option(metavar="STEP", help="Stop after backfill, index, gate or flip.")] = None,
    rollback: Annotated[bool, typer.Option("--rollback", help="Take the flip back.")] = False,
    finish: Annotated[bool, typer.Option("--finish", help="Drop the old column.")] = False,
    abandon: Annotated[bool, typer.Option("--abandon", help="Drop the new column before the flip.")] = False,
    bridge: Annotated[
        bool, typer.Option("--bridge", help="Fit a bridge: the new model's queries search the old column.")
    ] = False,
    insist: Annotated[
        bool, typer.Option("--insist", help="Flip although a gate failed, finish within --keep-days.")
    ] = False,
    keep_days: Annotated[
        float | None, typer.Option(min=0, help="Days after the flip in which the old column stays. Default: 7.")
    ] = None,
    config: Configs = None,
    sets: Sets = None,
    as_json: Json = False,
) -> None:
    """Move TABLE to another model: backfill, index, gates, flip. Again: goes on from where it is."""
    with importing():
        from jobs.config.load import load_config
        from jobs.swap import SwapConfig, as_text, run
        from operators.base.errors import UserError

    actions = {"rollback": rollback, "finish": finish, "abandon": abandon, "bridge": bridge}
    asked = [name for name, wanted in actions.items() if wanted]
    if len(asked) > 1 or (asked and (model or source or to)):
        raise UserError(f"--{asked[0]} stands by itself")
    given: dict[str, Any] = {
        "table": table,
        "column": column,
        "to": to,
        "action": asked[0] if asked else None,
        "insist": insist or None,
        "keep_days": keep_days,
        "model": {"name": model} if model else None,
        "images": {"uri": source} if source else None,
    }
    base = {key: value for key, value in given.items() if value is not None}
    # The file is mostly that of the embed job that made the table, with the old model in it.
    loaded = load_config(SwapConfig, files=config or (), sets=sets or (), base=base, without={"model"})
    report = run(loaded)
    print_result(report.model_dump(mode="json") if as_json else as_text(report), as_json)
    codes = {"complete": Exit.COMPLETE, "interrupted": Exit.RESUMABLE, "gate_failed": Exit.GATE}
    raise typer.Exit(codes.get(report.status, Exit.FAILED))
