"""`pixlake delete`."""

from typing import Annotated

import typer

from jobs.commands.options import Configs, Json, Sets, TableArgument, print_result
from jobs.commands.without_pandas import leave_out_pandas


def delete(
    table: TableArgument,
    where: Annotated[str | None, typer.Option(metavar="SQL", help="Images of which a row matches.")] = None,
    ids: Annotated[
        list[str] | None, typer.Option("--id", metavar="ID", help="An image, there or not; again for more.")
    ] = None,
    ids_file: Annotated[
        str | None,
        typer.Option("--ids", metavar="FILE", help="Images by a file of ids, as `pixlake duplicates --out` writes it."),
    ] = None,
    whole_images: Annotated[
        bool, typer.Option("--whole-images", help="Of a file of regions: images of which all are named.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Count, and change nothing.")] = False,
    forget: Annotated[bool, typer.Option("--forget", help="Take the records of these ids back.")] = False,
    config: Configs = None,
    sets: Sets = None,
    as_json: Json = False,
) -> None:
    """Take images down: out of the table now, and kept out by every later run."""
    leave_out_pandas()
    from jobs.config.load import load_config
    from jobs.delete import DeleteConfig, as_text, run

    base = {
        "table": table,
        "where": where,
        "id": ids or [],
        "ids": ids_file,
        "whole_images": whole_images,
        "dry_run": dry_run,
        "forget": forget,
    }
    deleted = run(load_config(DeleteConfig, files=config or (), sets=sets or (), base=base))
    print_result(deleted.model_dump(mode="json") if as_json else as_text(deleted), as_json)
