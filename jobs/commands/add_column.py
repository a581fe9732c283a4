"""`pixlake add-column`."""

from typing import Annotated, Any

import typer

from jobs.commands.options import Configs, Exit, Json, Sets, TableArgument, importing, print_result


def add_column(
    table: TableArgument,
    model: Annotated[str | None, typer.Option(metavar="MODEL", help="The model to add, see `pixlake models`.")] = None,
    name: Annotated[
        str | None, typer.Option(metavar="NAME", help="The column is vector_NAME. Left out: after the model.")
    ] = None,
    source: Annotated[
        str | None, typer.Option(metavar="SOURCE", help="Read images from here, by id: for tars and signed URLs.")
    ] = None,
    abandon: Annotated[bool, typer.Option("--abandon", help="Drop a column that is not filled yet.")] = False,
    config: Configs = None,
    sets: Sets = None,
    as_json: Json = False,
) -> None:
    """Add a column of another model to a table that has rows. Again: goes on where it was cut off."""
    with importing():
        from jobs.add_column import AddColumnConfig, as_text, run
        from jobs.config.load import load_config

    given: dict[str, Any] = {
        "table": table,
        "name": name,
        "abandon": abandon or None,
        "model": {"name": model} if model else None,
        "images": {"uri": source} if source else None,
    }
    base = {key: value for key, value in given.items() if value is not None}
    report = run(load_config(AddColumnConfig, files=config or (), sets=sets or (), base=base, without={"model"}))
    print_result(report.model_dump(mode="json") if as_json else as_text(report), as_json)
    codes = {"complete": Exit.COMPLETE, "interrupted": Exit.RESUMABLE}
    raise typer.Exit(codes.get(report.status, Exit.FAILED))
