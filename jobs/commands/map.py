"""`pixlake map`."""

from typing import Annotated

import typer

from jobs.commands.options import At, Configs, Json, Sets, TableArgument, print_result


def map(
    table: TableArgument,
    out: Annotated[str, typer.Option(metavar="FOLDER", help="The folder for the map; an earlier map is replaced.")],
    column: Annotated[str | None, typer.Option(metavar="NAME", help="The vector column.")] = None,
    colour: Annotated[
        str | None,
        typer.Option("--colour", "--color", metavar="COLUMN", help="Colour the points by a column, such as cluster."),
    ] = None,
    where: Annotated[str | None, typer.Option(metavar="SQL", help="Only rows for which this holds.")] = None,
    sample: Annotated[int | None, typer.Option(min=1, help="Rows shown, at most. Default: 20,000.")] = None,
    fitted: Annotated[
        int | None, typer.Option(min=10, help="Rows that make the plane; others are placed on it. Default: 20,000.")
    ] = None,
    neighbours: Annotated[
        int | None,
        typer.Option(min=2, help="How many of its nearest stay near an image: more shows the whole. Default: 15."),
    ] = None,
    thumbnail: Annotated[
        int | None, typer.Option(min=0, max=320, help="Longer side of the pictures in pixels; 0: none. Default: 96.")
    ] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="Which rows, and which plane. Default: 0.")] = None,
    at: At = None,
    config: Configs = None,
    sets: Sets = None,
    as_json: Json = False,
) -> None:
    """Lay a table's images on a plane, near where alike: a folder of files that a browser shows, offline."""
    from jobs.config.load import load_config
    from jobs.map import MapConfig, as_text, run

    values = {"table": table, "out": out, "column": column, "colour": colour, "where": where, "sample": sample}
    values |= {"fitted": fitted, "neighbours": neighbours, "thumbnail": thumbnail, "seed": seed, "at": at}
    given = {key: value for key, value in values.items() if value is not None}
    report = run(load_config(MapConfig, files=config or (), sets=sets or (), base=given))
    print_result(report.model_dump(mode="json") if as_json else as_text(report), as_json)
