"""`pixlake tag`."""

from typing import Annotated

import typer

from jobs.commands.options import Configs, Json, Sets, TableArgument, print_result
from jobs.commands.without_pandas import leave_out_pandas


def tag(
    table: TableArgument,
    name: Annotated[
        str | None, typer.Argument(metavar="[NAME]", help="Of the latest state; without it, tags are listed.")
    ] = None,
    move: Annotated[bool, typer.Option("--move", help="Also where the name means another state.")] = False,
    delete: Annotated[bool, typer.Option("--delete", help="Take the name away.")] = False,
    config: Configs = None,
    sets: Sets = None,
    as_json: Json = False,
) -> None:
    """Name the state that a table is in, on both of its tables; or list the names."""
    leave_out_pandas()
    from jobs.config.load import load_config
    from jobs.tag import TagConfig, as_text, run

    base = {"table": table, "name": name, "move": move, "delete": delete}
    tags = run(load_config(TagConfig, files=config or (), sets=sets or (), base=base))
    print_result(tags.model_dump(mode="json") if as_json else as_text(tags), as_json)
