"""`pixlake search`."""

from typing import Annotated

import typer

from jobs.commands.options import At, Configs, Json, Sets, TableArgument, importing, print_result
from jobs.commands.without_pandas import leave_out_pandas


def search(
    table: TableArgument,
    image: Annotated[list[str] | None, typer.Option(help="An image file or URI to search by.")] = None,
    text: Annotated[
        list[str] | None, typer.Option(help="Words to search by, where the model has a text tower.")
    ] = None,
    row_id: Annotated[list[str] | None, typer.Option("--id", help="A row of the table to search by.")] = None,
    not_image: Annotated[list[str] | None, typer.Option(help="An image that results are to be unlike.")] = None,
    not_text: Annotated[list[str] | None, typer.Option(help="Words that results are to be unlike.")] = None,
    not_id: Annotated[list[str] | None, typer.Option(help="A row that results are to be unlike.")] = None,
    weights: Annotated[
        str | None, typer.Option(metavar="W,W,…", help="One weight for each of these, in this order.")
    ] = None,
    queries: Annotated[
        str | None, typer.Option(metavar="FILE", help="Many queries, each compared with every row; needs --out.")
    ] = None,
    out: Annotated[
        str | None, typer.Option(metavar="FILE", help="The answers to --queries: .parquet, .jsonl or .csv.")
    ] = None,
    box: Annotated[
        str | None, typer.Option(metavar="X0,Y0,X1,Y1", help="The region of --image to search by; pixels or fractions.")
    ] = None,
    group: Annotated[bool, typer.Option("--group", help="Each image once, by its best region.")] = False,
    column: Annotated[
        str | None, typer.Option(metavar="NAME", help="The vector column, where the table has several.")
    ] = None,
    rescore: Annotated[
        str | None, typer.Option(metavar="NAME", help="A finer column of the same model that orders candidates anew.")
    ] = None,
    bridge: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="A bridge of `pixlake swap`: search the old column by the new model."),
    ] = None,
    by_teacher: Annotated[
        bool,
        typer.Option("--by-teacher", help="Embed --image by the teacher of the column's model."),
    ] = False,
    candidates: Annotated[int | None, typer.Option(min=1, help="How many rows are rescored; 10 times k.")] = None,
    k: Annotated[int, typer.Option("-k", min=1, help="How many results.")] = 10,
    where: Annotated[str | None, typer.Option(metavar="SQL", help="Only rows that match.")] = None,
    nprobes: Annotated[int | None, typer.Option(min=1, help="Partitions of the index to look into.")] = None,
    refine: Annotated[int | None, typer.Option(min=1, help="Compare this many times k candidates exactly.")] = None,
    exact: Annotated[bool, typer.Option("--exact", help="Compare with every row, whatever index there is.")] = False,
    at: At = None,
    config: Configs = None,
    sets: Sets = None,
    as_json: Json = False,
) -> None:
    """Find the images nearest to images, words and rows of the table together, or to each query of a file."""
    leave_out_pandas()
    with importing():
        from jobs.config.load import load_config
        from jobs.querying.many import many_as_text
        from jobs.search import SearchConfig, as_text, bridge_text, run, run_many, teacher_text

    given = {
        "image": image,
        "text": text,
        "id": row_id,
        "not_image": not_image,
        "not_text": not_text,
        "not_id": not_id,
        "weights": weights,
        "queries": queries,
        "out": out,
        "box": box,
        "group": group,
        "column": column,
        "rescore": rescore,
        "bridge": bridge,
        "by_teacher": by_teacher,
        "candidates": candidates,
        "k": k,
        "where": where,
        "nprobes": nprobes,
        "refine": refine,
        "exact": exact,
    }
    base = {"table": table, "at": at, **given}
    asked = load_config(SearchConfig, files=config or (), sets=sets or (), base=base)
    if asked.queries is not None:
        many = run_many(asked)
        print_result(many.model_dump(mode="json") if as_json else many_as_text(many), as_json)
        return
    found = run(asked)
    print_result(found.model_dump(mode="json") if as_json else as_text(found), as_json)
    if found.bridge is not None:
        typer.echo(bridge_text(found.bridge), err=True)
    if found.teacher is not None:
        typer.echo(teacher_text(found.teacher, found.column), err=True)
    if found.unindexed_rows and not as_json:
        note = f"{found.unindexed_rows:,} rows are not in the index yet and were compared one by one"
        typer.echo(f"{note}: pixlake index {table} --update", err=True)
