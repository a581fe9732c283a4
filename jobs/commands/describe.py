"""`pixlake describe`."""

from typing import Annotated

import typer

from jobs.commands.options import At, Configs, Json, Sets, TableArgument, print_result
from jobs.commands.without_pandas import leave_out_pandas


def describe(
    table: TableArgument,
    check: Annotated[
        bool, typer.Option("--check", help="Read all vectors, and count the rows that no search finds.")
    ] = False,
    at: At = None,
    config: Configs = None,
    sets: Sets = None,
    as_json: Json = False,
) -> None:
    """What a table holds: rows, model, space, manifests, runs."""
    leave_out_pandas()
    from jobs.config.load import load_config
    from jobs.describe import DescribeConfig, as_text, run

    base = {"table": table, "at": at, "check": check}
    described = run(load_config(DescribeConfig, files=config or (), sets=sets or (), base=base))
    print_result(described.model_dump(mode="json") if as_json else as_text(described), as_json)
