"""`pixlake serve`."""

from pathlib import Path
from typing import Annotated

import typer

from jobs.commands.options import Configs, Sets, TableArgument, importing
from jobs.commands.without_pandas import leave_out_pandas


def serve(
    table: TableArgument,
    host: Annotated[
        str,
        typer.Option(
            show_default=False,
            help="Address to listen on; any that other machines can reach needs a token. Default: 127.0.0.1.",
        ),
    ] = "127.0.0.1",
    port: Annotated[
        int, typer.Option(show_default=False, help="Port to listen on; with 0 any that is free. Default: 8765.")
    ] = 8765,
    token_file: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="What clients must know; or the environment variable PIXLAKE_SERVE_TOKEN."),
    ] = None,
    name: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="A name by which browsers may call the server.")
    ] = None,
    config: Configs = None,
    sets: Sets = None,
) -> None:
    """Search and look at a table in a browser, and by a REST API."""
    leave_out_pandas()
    with importing():
        from jobs.config.load import load_config
        from jobs.serve import ServeConfig, run

    base = {"table": table, "host": host, "port": port, "token_file": token_file, "name": name or ()}
    run(load_config(ServeConfig, files=config or (), sets=sets or (), base=base))
