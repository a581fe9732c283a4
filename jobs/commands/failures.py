"""`pixlake failures`."""

from typing import Annotated

import typer

from jobs.commands.options import At, Configs, Json, Sets, TableArgument, print_result
from jobs.commands.without_pandas import leave_out_pandas


def failures(
    table: TableArgument,
    error_class: Annotated[str | None, typer.Option("--class", metavar="CLASS", help="Only this class.")] = None,
    stage: Annotated[str | None, typer.Option(help="Only failures of this operator.")] = None,
    contains: Annotated[str | None, typer.Option(metavar="TEXT", help="Only URIs that contain this.")] = None,
    limit: Annotated[int, typer.Option(min=0, help="Rows to show.")] = 20,
    at: At = None,
    config: Configs = None,
    sets: Sets = None,
    as_json: Json = False,
) -> None:
    """Which images gave no vector, and why."""
    leave_out_pandas()
    from jobs.config.load import load_config
    from jobs.failures import FailuresConfig, as_text, run

    base = {"table": table, "at": at, "error_class": error_class, "stage": stage, "contains": contains, "limit": limit}
    listed = run(load_config(FailuresConfig, files=config or (), sets=sets or (), base=base))
    print_result(listed.model_dump(mode="json") if as_json else as_text(listed), as_json)
