"""`pixlake cluster`."""

from typing import Annotated

import typer

from jobs.commands.options import Configs, Json, Sets, TableArgument, importing, print_result


def cluster(
    table: TableArgument,
    k: Annotated[str | None, typer.Option(metavar="N|auto", help="How many clusters. Default: auto.")] = None,
    column: Annotated[str | None, typer.Option(help="The model's column, where the table has several.")] = None,
    name: Annotated[str | None, typer.Option(help="The column to make, beside NAME_cosine. Default: cluster.")] = None,
    sample: Annotated[int | None, typer.Option(min=2, help="Rows to fit the centres on. Default: 65,536.")] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="Of the sample and the first centres. Default: 0.")] = None,
    representatives: Annotated[
        int | None, typer.Option(min=0, help="Rows to list of each cluster. Default: 5.")
    ] = None,
    outliers: Annotated[
        int | None, typer.Option(min=0, help="Rows to list that are far from any centre. Default: 20.")
    ] = None,
    config: Configs = None,
    sets: Sets = None,
    as_json: Json = False,
) -> None:
    """Group a table's vectors by spherical k-means: a column that later runs fill too, sizes, representatives."""
    with importing():
        from jobs.cluster import ClusteringConfig, run
        from jobs.config.load import load_config
        from jobs.labelling.cluster_report import as_text

    values = {
        "table": table,
        "k": k,
        "column": column,
        "name": name,
        "sample": sample,
        "seed": seed,
        "representatives": representatives,
        "outliers": outliers,
    }
    given = {key: value for key, value in values.items() if value is not None}
    report = run(load_config(ClusteringConfig, files=config or (), sets=sets or (), base=given))
    print_result(report.model_dump(mode="json") if as_json else as_text(report), as_json)
