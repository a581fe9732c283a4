"""`pixlake evaluate`."""

from typing import Annotated

import typer

from jobs.commands.options import At, Configs, Json, Sets, TableArgument, print_result


def evaluate(
    table: TableArgument,
    queries: Annotated[int | None, typer.Option(min=1, help="How many rows are searched for. Default: 200.")] = None,
    label: Annotated[
        str | None,
        typer.Option(metavar="COLUMN", help="Measure by labels too: a column, or a field such as region.label."),
    ] = None,
    timing_queries: Annotated[
        int | None, typer.Option(min=0, help="Searches that are timed, at most, of each way; 0: none. Default: 50.")
    ] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="Which rows are drawn. Default: 0.")] = None,
    plot: Annotated[
        str | None, typer.Option(metavar="FILE", help="Where the PNG goes. Default: beside the JSON of the result.")
    ] = None,
    at: At = None,
    config: Configs = None,
    sets: Sets = None,
    as_json: Json = False,
) -> None:
    """Measure what each representation and each index of a table finds, weighs and takes."""
    from jobs.config.load import load_config
    from jobs.evaluate import EvaluateConfig, run
    from jobs.reports.evaluation import as_text

    values = {"table": table, "at": at, "queries": queries, "label": label, "seed": seed, "plot": plot}
    values["timing_queries"] = timing_queries
    given = {key: value for key, value in values.items() if value is not None}
    evaluation = run(load_config(EvaluateConfig, files=config or (), sets=sets or (), base=given))
    print_result(evaluation.model_dump(mode="json") if as_json else as_text(evaluation), as_json)
