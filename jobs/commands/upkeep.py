"""`pixlake upkeep`."""

from typing import Annotated

import typer

from jobs.commands.options import Configs, Exit, Json, Sets, TableArgument, print_result


def upkeep(
    table: TableArgument,
    keep_versions: Annotated[
        str | None, typer.Option(metavar="N|AGE", help="Versions that stay: a number, or an age. Default: 14d.")
    ] = None,
    drop_tags: Annotated[
        bool, typer.Option("--drop-tags", help="Drop tags named by a day, too, where they are older than that.")
    ] = False,
    tag: Annotated[str | None, typer.Option(metavar="NAME", help="Name of the state. Default: today's date.")] = None,
    no_tag: Annotated[bool, typer.Option("--no-tag", help="Name no state.")] = False,
    config: Configs = None,
    sets: Sets = None,
    as_json: Json = False,
) -> None:
    """Compact small fragments, update indexes, remove old versions, and tag the state; only what is due."""
    from jobs.config.load import load_config
    from jobs.upkeep import UpkeepConfig, as_text, run

    given = {"keep_versions": keep_versions, "tag": tag}
    named = {name: value for name, value in given.items() if value is not None}
    base = {"table": table, "drop_tags": drop_tags, "set_tag": not no_tag, **named}
    report = run(load_config(UpkeepConfig, files=config or (), sets=sets or (), base=base))
    print_result(report.model_dump(mode="json") if as_json else as_text(report), as_json)
    if report.problems:
        raise typer.Exit(Exit.FAILED)
