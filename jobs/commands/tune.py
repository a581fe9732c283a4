"""`pixlake tune`."""

from typing import Annotated, Any

import typer

from jobs.commands.options import (
    Configs,
    DecodedFolder,
    FirstRows,
    ForwardPrecision,
    Json,
    LooksFile,
    LooksPlot,
    ModelFolder,
    ModelName,
    Sets,
    TrainingDevices,
    TrainingWorkers,
    importing,
    new_model_folder,
    print_result,
)


def tune(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="The model to begin with, see `pixlake models`.")],
    source: Annotated[str, typer.Argument(metavar="SOURCE", help="A manifest, glob, folder, prefix or image.")],
    name: ModelName = None,
    out: ModelFolder = None,
    label: Annotated[str | None, typer.Option(metavar="COLUMN", help="Images of one label are to be near.")] = None,
    pairs: Annotated[
        str | None, typer.Option(metavar="FILE", help="Parquet with the columns id and group, or id_a and id_b.")
    ] = None,
    captions: Annotated[
        str | None,
        typer.Option(metavar="COLUMN", help="An image is to be near its own text."),
    ] = None,
    group: Annotated[
        str | None, typer.Option(metavar="COLUMN", help="Images of one value stay on one side of the split.")
    ] = None,
    trainable: Annotated[
        str | None, typer.Option(metavar="WHAT", help="head, last:N, lora:R or all. Default: last:1.")
    ] = None,
    freeze_text: Annotated[bool, typer.Option("--freeze-text", help="With --captions: train images alone.")] = False,
    sample: Annotated[int | None, typer.Option(min=20, help="Images to use, at most. Default: 20,000.")] = None,
    test: Annotated[
        float | None, typer.Option(metavar="SHARE", help="Images to measure on alone. Default: 0.2.")
    ] = None,
    augment: Annotated[
        str | None, typer.Option(metavar="WHAT", help="light: crops, flips and colour; or none. Default: light.")
    ] = None,
    batch: Annotated[int | None, typer.Option(min=4, help="Images of a step. Default: 64.")] = None,
    steps: Annotated[int | None, typer.Option(min=1, help="Steps, at most. Default: 300.")] = None,
    look_every: Annotated[int | None, typer.Option(min=1, help="Steps from look to look. Default: 25.")] = None,
    patience: Annotated[
        int | None, typer.Option(min=1, help="Looks at held-out images without gain before it ends. Default: 4.")
    ] = None,
    learning_rate: Annotated[
        float | None, typer.Option(help="Of AdamW, after a warm-up. Default: by what is trained.")
    ] = None,
    gradient_checkpointing: Annotated[
        bool, typer.Option("--gradient-checkpointing", help="Less memory for more work.")
    ] = False,
    workers: TrainingWorkers = None,
    device: TrainingDevices = None,
    precision: ForwardPrecision = None,
    sharded: Annotated[bool, typer.Option("--sharded", help="Workers hold parts of the model each (FSDP).")] = False,
    remember: Annotated[
        str | None, typer.Option(metavar="SOURCE", help="Other images: how far they are still seen as before.")
    ] = None,
    work: DecodedFolder = None,
    metrics: LooksFile = None,
    plot: LooksPlot = None,
    limit: FirstRows = None,
    seed: Annotated[int | None, typer.Option(min=0, help="Of the split, the order and the looks. Default: 0.")] = None,
    config: Configs = None,
    sets: Sets = None,
    as_json: Json = False,
) -> None:
    """Tune MODEL to the images of SOURCE, and save it as a model of your own; measured on images held out."""
    with importing():
        from jobs.config.load import load_config
        from jobs.config.model_names import models_named
        from jobs.tune import TuneConfig, run
        from jobs.tuning.report import as_text

    values: dict[str, Any] = {
        "out": new_model_folder(name, out),
        "label": label,
        "pairs": pairs,
        "captions": captions,
        "group": group,
        "trainable": trainable,
        "freeze_text": freeze_text or None,
        "sample": sample,
        "test": test,
        "augment": augment,
        "batch": batch,
        "steps": steps,
        "look_every": look_every,
        "patience": patience,
        "learning_rate": learning_rate,
        "gradient_checkpointing": gradient_checkpointing or None,
        "workers": workers,
        "device": device,
        "precision": precision,
        "sharded": sharded or None,
        "remember": remember,
        "work": work,
        "metrics": metrics,
        "plot": plot,
        "seed": seed,
    }
    base: dict[str, Any] = {key: value for key, value in values.items() if value is not None}
    base |= {"source": {"uri": source} | ({} if limit is None else {"limit": limit}), **models_named([model])}
    report = run(load_config(TuneConfig, files=config or (), sets=sets or (), base=base, without={"model", "models"}))
    print_result(report.model_dump(mode="json") if as_json else as_text(report), as_json)
