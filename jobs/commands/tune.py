"""`pixlake tune`."""

from typing import Annotated, Any

import typer

from jobs.commands.options import Configs, Json, Sets, importing, print_result


def tune(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="The model to begin with, see `pixlake models`.")],
    source: Annotated[str, typer.Argument(metavar="SOURCE", help="A manifest, glob, folder, prefix or image.")],
    name: Annotated[str | None, typer.Option(metavar="NAME", help="Call the new model so: ./lake/models/NAME.")] = None,
    out: Annotated[
        str | None, typer.Option(metavar="FOLDER", help="Where the new model goes, in place of --name.")
    ] = None,
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
    workers: Annotated[int | None, typer.Option(min=1, help="Of Ray Train; one needs no Ray. Default: 1.")] = None,
    device: Annotated[str | None, typer.Option(help="auto, cpu or cuda. Default: auto.")] = None,
    precision: Annotated[str | None, typer.Option(help="auto, float32 or bf16. Default: float32.")] = None,
    sharded: Annotated[bool, typer.Option("--sharded", help="Workers hold parts of the model each (FSDP).")] = False,
    remember: Annotated[
        str | None, typer.Option(metavar="SOURCE", help="Other images: how far they are still seen as before.")
    ] = None,
    work: Annotated[
        str | None, typer.Option(metavar="FOLDER", help="Keep decoded images and the checkpoint there.")
    ] = None,
    metrics: Annotated[
        str | None, typer.Option(metavar="FILE", help="Gets a line of JSON for each look at held-out images.")
    ] = None,
    plot: Annotated[str | None, typer.Option(metavar="FILE", help="A PNG of loss and figures by step.")] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Draw from the first rows of the source only.")] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="Of the split, the order and the looks. Default: 0.")] = None,
    config: Configs = None,
    sets: Sets = None,
    as_json: Json = False,
) -> None:
    """Tune MODEL to the images of SOURCE, and save it as a model of your own; measured on images held out."""
    with importing():
        from jobs.config.load import ConfigError, load_config
        from jobs.config.model_names import models_named
        from jobs.tune import TuneConfig, run
        from jobs.tuning.report import as_text

    if name is not None and out is not None:
        raise ConfigError("--name and --out are both given; --out says the whole folder")
    values: dict[str, Any] = {
        "out": out if name is None else f"./lake/models/{name}",
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
