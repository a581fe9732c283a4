"""`pixlake diff`."""

from typing import Annotated

import typer

from jobs.commands.options import Configs, Json, Sets, TableArgument, print_result
from jobs.commands.without_pandas import leave_out_pandas


def diff(
    table: TableArgument,
    before: Annotated[str, typer.Argument(metavar="TAG", help="The earlier state: a tag, or a version.")],
    after: Annotated[str | None, typer.Argument(metavar="[TAG]", help="The later state. Default: the latest.")] = None,
    limit: Annotated[int, typer.Option(min=0, help="Rows of each kind to show.")] = 10,
    out: Annotated[
        str | None, typer.Option(metavar="FILE", help="All rows as a file: .parquet, .jsonl or .csv.")
    ] = None,
    config: Configs = None,
    sets: Sets = None,
    as_json: Json = False,
) -> None:
    """Which images were added, changed, moved or deleted between two states of a table, and which failed."""
    leave_out_pandas()
    from jobs.config.load import load_config
    from jobs.diff import DiffConfig, as_text, run

    base = {"table": table, "before": before, "after": after, "limit": limit, "out": out}
    found = run(load_config(DiffConfig, files=config or (), sets=sets or (), base=base))
    print_result(found.model_dump(mode="json") if as_json else as_text(found), as_json)
