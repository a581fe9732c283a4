"""`pixlake drift`."""

from typing import Annotated

import typer

from jobs.commands.options import Configs, Exit, Json, Sets, TableArgument, print_result


def drift(
    table: TableArgument,
    from_state: Annotated[
        str | None, typer.Option("--from", metavar="TAG", help="What was there: a tag, or the number of a version.")
    ] = None,
    to_state: Annotated[
        str | None, typer.Option("--to", metavar="TAG", help="The later state, unless it is the latest.")
    ] = None,
    column: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="The vector column; given twice, the two that are compared."),
    ] = None,
    with_table: Annotated[
        str | None, typer.Option("--with", metavar="TABLE", help="Another table, to compare this one with.")
    ] = None,
    group: Annotated[
        str | None, typer.Option(metavar="COLUMN", help="Compare each value of a column too, such as camera.")
    ] = None,
    sample: Annotated[int | None, typer.Option(min=1, help="Rows compared a side, at most. Default: 20000.")] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="Which rows are drawn. Default: 0.")] = None,
    farthest: Annotated[
        int | None, typer.Option(min=0, help="How many of the images farthest from what was there. Default: 10.")
    ] = None,
    across_spaces: Annotated[
        bool | None,
        typer.Option("--across-spaces", help="Compare vectors of two models too, number by number."),
    ] = None,
    plot: Annotated[str | None, typer.Option(metavar="FILE", help="Draw a PNG, to a path or a URI.")] = None,
    config: Configs = None,
    sets: Sets = None,
    as_json: Json = False,
) -> None:
    """Say how what came to a table differs from what was there. Exit code 3: more than its thresholds allow."""
    from jobs.config.load import load_config
    from jobs.drift import DriftConfig, run
    from jobs.reports.drift import as_text

    values: dict[str, object] = {"table": table, "from_state": from_state, "to_state": to_state, "columns": column}
    values |= {"with_table": with_table, "group": group, "sample": sample, "seed": seed, "farthest": farthest}
    values |= {"across_spaces": across_spaces, "plot": plot}
    given = {key: value for key, value in values.items() if value is not None}
    report = run(load_config(DriftConfig, files=config or (), sets=sets or (), base=given))
    print_result(report.model_dump(mode="json") if as_json else as_text(report), as_json)
    if report.exceeded:
        raise typer.Exit(Exit.GATE)
