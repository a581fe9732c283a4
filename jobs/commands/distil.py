"""`pixlake distil`."""

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


def distil(
    source: Annotated[str, typer.Argument(metavar="SOURCE", help="The images: a manifest, glob, folder or prefix.")],
    teacher: Annotated[
        str, typer.Option(metavar="TABLE[:COLUMN]", help="Where the teacher's vectors of these images are.")
    ],
    student: Annotated[str, typer.Option(metavar="MODEL", help="The network to teach, as in timm:NAME.")],
    name: ModelName = None,
    out: ModelFolder = None,
    from_scratch: Annotated[
        bool, typer.Option("--from-scratch", help="Begin with random weights, drawn by --seed.")
    ] = False,
    space: Annotated[
        str | None, typer.Option(metavar="WHOSE", help="own, or teacher: its queries find the student's rows.")
    ] = None,
    dims: Annotated[
        str | None, typer.Option(metavar="N,N,…", help="Lengths to be good at; the longest is that of the vectors.")
    ] = None,
    cosine: Annotated[float | None, typer.Option(min=0, help="Weight of the loss by cosine. Default: 1.")] = None,
    relational: Annotated[
        float | None, typer.Option(min=0, help="Weight of the loss by neighbours. Default: 1.")
    ] = None,
    hard_examples: Annotated[
        float | None,
        typer.Option(min=0, help="Power of its error by which an image weighs. Default: 0."),
    ] = None,
    crops: Annotated[int | None, typer.Option(min=1, help="Changed looks of an image in a step. Default: 1.")] = None,
    least_area: Annotated[
        float | None, typer.Option(metavar="SHARE", help="Of an image, that a crop shows at least. Default: 0.5.")
    ] = None,
    label: Annotated[str | None, typer.Option(metavar="COLUMN", help="Labels to measure by, of the source.")] = None,
    group: Annotated[
        str | None, typer.Option(metavar="COLUMN", help="Images of one value stay on one side of the split.")
    ] = None,
    sample: Annotated[int | None, typer.Option(min=20, help="Images to use, at most. Default: 50,000.")] = None,
    test: Annotated[
        float | None, typer.Option(metavar="SHARE", help="Images to measure on alone. Default: 0.2.")
    ] = None,
    batch: Annotated[int | None, typer.Option(min=8, help="Images of a step. Default: 128.")] = None,
    micro_batch: Annotated[
        int | None, typer.Option(min=8, help="Looks that batch norm takes its statistics of. Default: 64.")
    ] = None,
    steps: Annotated[int | None, typer.Option(min=1, help="Steps, at most. Default: 2,000.")] = None,
    look_every: Annotated[int | None, typer.Option(min=1, help="Steps from look to look. Default: 25.")] = None,
    patience: Annotated[
        int | None, typer.Option(min=1, help="Looks at held-out images without gain before it ends. Default: 20.")
    ] = None,
    learning_rate: Annotated[float | None, typer.Option(help="Of AdamW, after a warm-up. Default: 0.002.")] = None,
    weight_decay: Annotated[float | None, typer.Option(help="Of AdamW. Default: 0.02.")] = None,
    workers: TrainingWorkers = None,
    device: TrainingDevices = None,
    precision: ForwardPrecision = None,
    work: DecodedFolder = None,
    metrics: LooksFile = None,
    plot: LooksPlot = None,
    limit: FirstRows = None,
    seed: Annotated[int | None, typer.Option(min=0, help="Of the split, the order and the looks. Default: 0.")] = None,
    config: Configs = None,
    sets: Sets = None,
    as_json: Json = False,
) -> None:
    """Teach a small network the vectors that a large one has left in a table, and save it as a model of your own."""
    with importing():
        from jobs.config.load import load_config
        from jobs.distil import DistilConfig, as_text, run
        from jobs.distilling.config import split_teacher

    table, column = split_teacher(teacher)
    values: dict[str, Any] = {
        "column": column,
        "out": new_model_folder(name, out),
        "from_scratch": from_scratch or None,
        "space": space,
        "dims": dims,
        "cosine": cosine,
        "relational": relational,
        "hard_examples": hard_examples,
        "crops": crops,
        "least_area": least_area,
        "label": label,
        "group": group,
        "sample": sample,
        "test": test,
        "batch": batch,
        "micro_batch": micro_batch,
        "steps": steps,
        "look_every": look_every,
        "patience": patience,
        "learning_rate": learning_rate,
        "weight_decay": weight_decay,
        "workers": workers,
        "device": device,
        "precision": precision,
        "work": work,
        "metrics": metrics,
        "plot": plot,
        "seed": seed,
    }
    base: dict[str, Any] = {key: value for key, value in values.items() if value is not None}
    base |= {"table": table, "model": {"name": student}}
    base["source"] = {"uri": source} | ({} if limit is None else {"limit": limit})
    report = run(load_config(DistilConfig, files=config or (), sets=sets or (), base=base, without={"model", "models"}))
    print_result(report.model_dump(mode="json") if as_json else as_text(report), as_json)
