"""`pixlake rewrite`."""

from typing import Annotated

import typer

from jobs.commands.options import Configs, Json, Sets, TableArgument, print_result


def rewrite(
    table: TableArgument,
    new_table: Annotated[str, typer.Argument(metavar="NEW_TABLE", help="The table to make: DB/NAME.")],
    config: Configs = None,
    sets: Sets = None,
    as_json: Json = False,
) -> None:
    """Copy a table into a new one, which has no stable row ids: rows, records and artifacts, verified."""
    from jobs.config.load import load_config
    from jobs.rewrite import RewriteConfig, as_text, run

    base = {"table": table, "new_table": new_table}
    report = run(load_config(RewriteConfig, files=config or (), sets=sets or (), base=base))
    print_result(report.model_dump(mode="json") if as_json else as_text(report), as_json)
