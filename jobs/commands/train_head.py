"""`pixlake train-head`."""

from typing import Annotated

import typer

from jobs.commands.options import Configs, Json, Sets, TableArgument, importing, print_result


def train_head(
    table: TableArgument,
    objective: Annotated[str, typer.Option(metavar="WHAT", help="labels, pairs, captions or self.")],
    dims: Annotated[
        str | None,
        typer.Option(metavar="N,N,…", help="Lengths to be cut to; the longest is the head's."),
    ] = None,
    label: Annotated[str | None, typer.Option(metavar="COLUMN", help="Labels to learn, or only to measure by.")] = None,
    pairs: Annotated[
        str | None, typer.Option(metavar="FILE", help="Parquet with the columns id and group, or id_a and id_b.")
    ] = None,
    captions: Annotated[
        str | None, typer.Option(metavar="COLUMN", help="Vectors of the rows' texts, by the same model.")
    ] = None,
    group: Annotated[
        str | None, typer.Option(metavar="COLUMN", help="Rows of one value stay on one side of the split.")
    ] = None,
    column: Annotated[str | None, typer.Option(help="The model's column, where the table has several.")] = None,
    hidden: Annotated[int | None, typer.Option(min=0, help="Units of a hidden layer. Default: 0.")] = None,
    sample: Annotated[int | None, typer.Option(min=20, help="Rows to use, at most. Default: 200,000.")] = None,
    test: Annotated[float | None, typer.Option(metavar="SHARE", help="Rows to measure on alone. Default: 0.2.")] = None,
    batch: Annotated[int | None, typer.Option(min=8, help="Rows of a step. Default: 512.")] = None,
    steps: Annotated[int | None, typer.Option(min=1, help="Steps, at most. Default: 2,000.")] = None,
    patience: Annotated[
        int | None, typer.Option(min=1, help="Looks at held-out rows without gain before it ends. Default: 8.")
    ] = None,
    learning_rate: Annotated[float | None, typer.Option(help="Of AdamW. Default: 0.0001.")] = None,
    weight_decay: Annotated[float | None, typer.Option(help="Back to the principal directions. Default: 0.01.")] = None,
    metrics: Annotated[
        str | None, typer.Option(metavar="FILE", help="Gets a line of JSON for each look at held-out rows.")
    ] = None,
    plot: Annotated[
        str | None, typer.Option(metavar="FILE", help="Gets a PNG of the loss and the held-out figures by step.")
    ] = None,
    workers: Annotated[
        int | None, typer.Option(min=1, help="Processes that train, on Ray where more than one. Default: 1.")
    ] = None,
    device: Annotated[
        str | None, typer.Option(metavar="WHAT", help="cpu, cuda, or whichever there is. Default: auto.")
    ] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="Of the split and the order of rows. Default: 0.")] = None,
    config: Configs = None,
    sets: Sets = None,
    as_json: Json = False,
) -> None:
    """Train a head that makes a table's vectors shorter, for `pixlake reduce --head`; measured on rows held out."""
    with importing():
        from jobs.config.load import load_config
        from jobs.train_head import TrainHeadConfig, run
        from jobs.training.report import as_text

    values = {
        "table": table,
        "objective": objective,
        "dims": dims,
        "label": label,
        "pairs": pairs,
        "captions": captions,
        "group": group,
        "column": column,
        "hidden": hidden,
        "sample": sample,
        "test": test,
        "batch": batch,
        "steps": steps,
        "patience": patience,
        "learning_rate": learning_rate,
        "weight_decay": weight_decay,
        "metrics": metrics,
        "plot": plot,
        "workers": workers,
        "device": device,
        "seed": seed,
    }
    given = {key: value for key, value in values.items() if value is not None}
    report = run(load_config(TrainHeadConfig, files=config or (), sets=sets or (), base=given))
    print_result(report.model_dump(mode="json") if as_json else as_text(report), as_json)
