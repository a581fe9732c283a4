"""`pixlake export`."""

import csv
from typing import Annotated, Any

import typer

from jobs.commands.options import At, Configs, Json, Sets, TableArgument, print_result


def export(
    table: TableArgument,
    out: Annotated[str, typer.Argument(metavar="OUT", help="An empty folder or bucket prefix, or an earlier export.")],
    output_format: Annotated[str, typer.Option("--format", metavar="FORMAT", help="parquet or npy.")] = "parquet",
    column: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="A vector column; several times. Default: all.")
    ] = None,
    columns: Annotated[
        str | None,
        typer.Option(
            metavar="A,B",
            help='What is exported beside the vectors; a name with a comma as in CSV: "a,b". Default: all.',
        ),
    ] = None,
    where: Annotated[str | None, typer.Option(metavar="SQL", help="Only rows that match.")] = None,
    with_deleted: Annotated[
        bool, typer.Option("--with-deleted", help="Also rows that a refresh has marked as deleted.")
    ] = False,
    rows_per_file: Annotated[int | None, typer.Option(min=1, help="Rows of each file.")] = None,
    dtype: Annotated[
        str | None, typer.Option(metavar="TYPE", help="float32: for readers that take no float16. Default: as it is.")
    ] = None,
    at: At = None,
    config: Configs = None,
    sets: Sets = None,
    as_json: Json = False,
) -> None:
    """Write vectors and their rows as Parquet or npy files. The same command again goes on, or does nothing."""
    from jobs.config.load import load_config
    from jobs.export import ExportConfig, as_text, run

    base: dict[str, Any] = {
        "table": table,
        "at": at,
        "out": out,
        "format": output_format,
        "column": column,
        "where": where,
        "with_deleted": with_deleted or None,
    }
    named = None if columns is None else [name for name in next(csv.reader([columns]), []) if name]
    base |= {"columns": named, "rows_per_file": rows_per_file, "dtype": dtype}
    given = {key: value for key, value in base.items() if value is not None}
    exported = run(load_config(ExportConfig, files=config or (), sets=sets or (), base=given))
    print_result(exported.model_dump(mode="json") if as_json else as_text(exported), as_json)
