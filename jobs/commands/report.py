"""`pixlake report`."""

from typing import Annotated

import typer

from jobs.commands.options import Configs, Json, Sets, TableArgument, print_result


def report(
    table: TableArgument,
    out: Annotated[str, typer.Option(metavar="FILE.html", help="Where the page goes: a path or a URI.")],
    examples: Annotated[
        int | None, typer.Option(min=0, help="Failures of each class that are listed. Default: 5.")
    ] = None,
    images: Annotated[int | None, typer.Option(min=0, help="Images drawn at random to be shown. Default: 24.")] = None,
    pictures: Annotated[
        bool | None, typer.Option("--pictures/--no-pictures", help="Fetch images to show them; else names alone.")
    ] = None,
    drift_from: Annotated[
        str | None, typer.Option("--drift-from", metavar="TAG", help="Compare with this tag or version too.")
    ] = None,
    column: Annotated[str | None, typer.Option(metavar="NAME", help="The vector column that is compared.")] = None,
    config: Configs = None,
    sets: Sets = None,
    as_json: Json = False,
) -> None:
    """Write one page of runs, failures, evaluation, clusters, duplicates and drift of a table."""
    from jobs.config.load import load_config
    from jobs.report import ReportConfig, as_text, run

    values = {"table": table, "out": out, "examples": examples, "images": images, "pictures": pictures}
    values |= {"drift_from": drift_from, "column": column}
    given = {key: value for key, value in values.items() if value is not None}
    made = run(load_config(ReportConfig, files=config or (), sets=sets or (), base=given))
    print_result(made.model_dump(mode="json") if as_json else as_text(made), as_json)
