"""`pixlake fit-pca`."""

from typing import Annotated

import typer

from jobs.commands.options import Configs, Json, Sets, TableArgument, print_result


def fit_pca(
    table: TableArgument,
    dim: Annotated[
        str, typer.Option(metavar="N|SHARE", help="Components, or the share of the variance to explain: 0.95.")
    ],
    column: Annotated[str | None, typer.Option(help="The vector column, where there are several.")] = None,
    whiten: Annotated[bool, typer.Option("--whiten", help="Components of unit variance.")] = False,
    sample: Annotated[int | None, typer.Option(metavar="R", help="Fit on about R rows.")] = None,
    config: Configs = None,
    sets: Sets = None,
    as_json: Json = False,
) -> None:
    """Fit a PCA on a table's vectors, for `pixlake reduce`; the same rows give the same bytes."""
    from jobs.config.load import load_config, parse_assignment
    from jobs.fit_pca import FitPcaConfig, as_text, run

    base = {"table": table, **parse_assignment(f"dim={dim}"), "column": column, "whiten": whiten, "sample": sample}
    given = {key: value for key, value in base.items() if value is not None and value is not False}
    report = run(load_config(FitPcaConfig, files=config or (), sets=sets or (), base=given))
    print_result(report.model_dump(mode="json") if as_json else as_text(report), as_json)
