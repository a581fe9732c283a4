"""`pixlake duplicates`."""

from typing import Annotated

import typer

from jobs.commands.options import Configs, Json, Sets, TableArgument, print_result


def duplicates(
    table: TableArgument,
    threshold: Annotated[
        float | None, typer.Option(help="Lowest cosine of duplicates; a guess for any model. Default: 0.95.")
    ] = None,
    calibrate: Annotated[
        str | None, typer.Option(metavar="FILE", help="Labelled pairs (id_1, id_2, duplicate) to choose it on.")
    ] = None,
    keep: Annotated[
        str | None, typer.Option(metavar="RULE", help="largest (default), oldest, highest:COLUMN or lowest:COLUMN.")
    ] = None,
    linkage: Annotated[
        str | None, typer.Option(metavar="KIND", help="leader (default): all are like the one that stays; or chain.")
    ] = None,
    where: Annotated[str | None, typer.Option(metavar="SQL", help="Only rows that match.")] = None,
    column: Annotated[
        str | None, typer.Option(metavar="NAME", help="The vector column. Default: the only model's.")
    ] = None,
    out: Annotated[
        str | None, typer.Option(metavar="FILE", help="Ids to drop as a file: .parquet, .csv or .txt.")
    ] = None,
    probes: Annotated[
        int | None, typer.Option(min=1, help="Neighbouring cells that a vector may be compared with. Default: 16.")
    ] = None,
    config: Configs = None,
    sets: Sets = None,
    as_json: Json = False,
) -> None:
    """Group near-duplicate images, choose which one stays, and write the ids of the others."""
    from jobs.config.load import load_config
    from jobs.duplicates import DuplicatesConfig, as_text, run

    values = {
        "table": table,
        "threshold": threshold,
        "calibrate": calibrate,
        "keep": keep,
        "linkage": linkage,
        "where": where,
        "column": column,
        "out": out,
        "probes": probes,
    }
    given = {key: value for key, value in values.items() if value is not None}
    found = run(load_config(DuplicatesConfig, files=config or (), sets=sets or (), base=given))
    print_result(found.model_dump(mode="json") if as_json else as_text(found), as_json)
