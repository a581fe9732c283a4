"""`pixlake benchmark`."""

from typing import Annotated, Any

import typer

from jobs.commands.options import Configs, Json, Sets, importing, print_result


def benchmark(
    source: Annotated[str, typer.Argument(metavar="SOURCE", help="A manifest, glob, folder, prefix or image.")],
    model: Annotated[
        list[str] | None,
        typer.Option(metavar="[NAME=]MODEL", help="A model, see `pixlake models`. Several times: all are compared."),
    ] = None,
    sample: Annotated[
        int | None, typer.Option(min=20, help="Images that are drawn, the same for all models. Default: 2000.")
    ] = None,
    changed: Annotated[
        int | None, typer.Option(min=0, help="Images that are changed in a dozen ways; 0: none. Default: 200.")
    ] = None,
    label: Annotated[str | None, typer.Option(metavar="COLUMN", help="Manifest column of labels.")] = None,
    group: Annotated[
        str | None,
        typer.Option(metavar="COLUMN", help="Images with the same value in it never judge each other."),
    ] = None,
    caption: Annotated[str | None, typer.Option(metavar="COLUMN", help="Manifest column of captions.")] = None,
    template: Annotated[
        list[str] | None,
        typer.Option(metavar="SENTENCE", help="A sentence with {} for the class name; may be repeated."),
    ] = None,
    price: Annotated[
        str | None, typer.Option(metavar="PRICE/h", help="What an hour of a machine like this one costs.")
    ] = None,
    rows: Annotated[
        int | None,
        typer.Option(min=1, max=1_000_000, help="Time queries in a made table of so many rows, its index included."),
    ] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Draw from the first rows of the source only.")] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="Which images are drawn. Default: 0.")] = None,
    page: Annotated[
        str | None, typer.Option(metavar="FILE", help="Where the HTML page goes. Default: benchmark.html.")
    ] = None,
    plot: Annotated[str | None, typer.Option(metavar="FILE", help="Write the plots as a PNG, too.")] = None,
    config: Configs = None,
    sets: Sets = None,
    as_json: Json = False,
) -> None:
    """Compare models on a sample of SOURCE: accuracy, bytes, cost, and which to take. No table is written."""
    with importing():
        from jobs.benchmark import BenchmarkConfig, as_text, run
        from jobs.config.load import load_config
        from jobs.config.model_names import models_named

    values: dict[str, Any] = {"sample": sample, "changed": changed, "label": label, "group": group, "caption": caption}
    values |= {"templates": template, "rows": rows, "price": price, "seed": seed, "page": page, "plot": plot}
    base: dict[str, Any] = {key: value for key, value in values.items() if value is not None}
    base["source"] = {"uri": source} | ({} if limit is None else {"limit": limit})
    base |= models_named(model) if model else {}
    unused = {"model", "models"} if model else set()
    loaded = load_config(BenchmarkConfig, files=config or (), sets=sets or (), base=base, without=unused)
    result = run(loaded)
    print_result(result.model_dump(mode="json") if as_json else as_text(result), as_json)
    raise typer.Exit(0 if result.recommendation.model is not None else 1)
