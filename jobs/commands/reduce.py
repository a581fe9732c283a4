"""`pixlake reduce`."""

from typing import Annotated

import typer

from jobs.commands.options import Configs, Json, Sets, TableArgument, print_result


def reduce(
    table: TableArgument,
    column: Annotated[str, typer.Argument(metavar="NEW_COLUMN", help="The column to make, such as vector_256.")],
    base: Annotated[str | None, typer.Option(help="The model's column, where the table has several.")] = None,
    pca: Annotated[
        str | None,
        typer.Option(metavar="FILE", help="What `pixlake fit-pca` wrote: path or URI, or latest: the last one here."),
    ] = None,
    head: Annotated[
        str | None,
        typer.Option(metavar="FILE", help="What `pixlake train-head` wrote, in place of a PCA; or latest."),
    ] = None,
    truncate: Annotated[int | None, typer.Option(metavar="N", min=1, help="Keep the first N components.")] = None,
    allow_untrained_truncation: Annotated[
        bool, typer.Option("--allow-untrained-truncation", help="Cut vectors of a model that was not trained for it.")
    ] = False,
    quantise: Annotated[
        str | None,
        typer.Option(
            "--quantise",
            "--quantize",
            metavar="PRECISION",
            help="float32, float16, int8, binary or pq. Default: float16.",
        ),
    ] = None,
    quantizer: Annotated[
        str | None, typer.Option(metavar="FILE", help="A fitted one of an earlier run, instead of fitting one.")
    ] = None,
    pq_bytes: Annotated[int | None, typer.Option(min=1, help="Length of pq codes. Default: 32.")] = None,
    sample: Annotated[int | None, typer.Option(min=1, help="Rows to fit a quantizer on. Default: 65,536.")] = None,
    config: Configs = None,
    sets: Sets = None,
    as_json: Json = False,
) -> None:
    """Make a column of shorter or coarser vectors from a table's own: PCA or head, cut, renormalise, quantise."""
    from jobs.config.load import load_config
    from jobs.reduce import ReduceConfig, as_text, run

    values = {
        "table": table,
        "column": column,
        "base": base,
        "pca": pca,
        "head": head,
        "truncate_dim": truncate,
        "allow_untrained_truncation": allow_untrained_truncation or None,
        "quantize": quantise,
        "quantizer": quantizer,
        "pq_bytes": pq_bytes,
        "sample": sample,
    }
    given = {key: value for key, value in values.items() if value is not None}
    report = run(load_config(ReduceConfig, files=config or (), sets=sets or (), base=given))
    print_result(report.model_dump(mode="json") if as_json else as_text(report), as_json)
