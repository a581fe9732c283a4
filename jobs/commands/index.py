"""`pixlake index`."""

from typing import Annotated

import typer

from jobs.commands.options import Configs, Json, Sets, TableArgument, print_result


def index(
    table: TableArgument,
    column: Annotated[
        str | None, typer.Option(metavar="NAME", help="The vector column, where the table has several.")
    ] = None,
    kind: Annotated[
        str | None,
        typer.Option(
            "--type",
            metavar="TYPE",
            help="auto (default), IVF_RQ, IVF_PQ, IVF_SQ, IVF_FLAT, IVF_HNSW_SQ, IVF_HNSW_PQ, IVF_HNSW_FLAT.",
        ),
    ] = None,
    metric: Annotated[
        str | None, typer.Option(metavar="NAME", help="cosine (default), l2, dot; hamming for packed bits.")
    ] = None,
    target_recall: Annotated[
        float | None, typer.Option(metavar="R", help="Index recall@10 under which nothing is published: 0.95.")
    ] = None,
    scalar: Annotated[
        list[str] | None,
        typer.Option(metavar="COL[=KIND]", help="Index this column for filters, too; may be repeated."),
    ] = None,
    update: Annotated[bool, typer.Option("--update", help="Index the rows that the index lacks.")] = False,
    num_partitions: Annotated[int | None, typer.Option(min=1, help="Default: the root of the rows.")] = None,
    num_sub_vectors: Annotated[int | None, typer.Option(min=1, help="Bytes of a PQ code. Default: dim / 8.")] = None,
    num_bits: Annotated[int | None, typer.Option(min=1, help="Of a dimension (RQ) or of a code (PQ).")] = None,
    nprobes: Annotated[int | None, typer.Option(min=1, help="Try this number alone.")] = None,
    refine: Annotated[int | None, typer.Option(min=1, help="Try this factor alone.")] = None,
    queries: Annotated[int | None, typer.Option(min=1, help="Rows that index recall is measured with: 200.")] = None,
    workers: Annotated[int | None, typer.Option(min=1, help="Tasks that build at a time.")] = None,
    config: Configs = None,
    sets: Sets = None,
    as_json: Json = False,
) -> None:
    """Build an index on a column of vectors, measure what it finds, and publish it if that is enough."""
    from jobs.config.load import load_config
    from jobs.index import IndexConfig, as_text, run

    named = {
        "table": table,
        "column": column,
        "type": kind,
        "metric": metric,
        "target_recall": target_recall,
        "scalar": scalar,
        "update": update or None,
        "num_partitions": num_partitions,
        "num_sub_vectors": num_sub_vectors,
        "num_bits": num_bits,
        "nprobes": nprobes,
        "refine": refine,
        "queries": queries,
        "workers": workers,
    }
    base = {name: value for name, value in named.items() if value is not None}
    result = run(load_config(IndexConfig, files=config or (), sets=sets or (), base=base))
    print_result(result.model_dump(mode="json") if as_json else as_text(result), as_json)
