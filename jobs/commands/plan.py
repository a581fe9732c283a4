"""`pixlake plan`."""

from typing import Annotated, Any

import typer

from jobs.commands.options import Configs, Json, Sets, importing, print_result


def plan(
    source: Annotated[str, typer.Argument(metavar="SOURCE", help="A manifest, glob, folder, prefix or image.")],
    model: Annotated[
        list[str] | None,
        typer.Option(metavar="[NAME=]MODEL", help="A model, see `pixlake models`. Several times: a column each."),
    ] = None,
    sample: Annotated[
        int | None,
        typer.Option(min=32, help="Rows that are drawn by position and tried. Default: by the cores, 2,400 on two."),
    ] = None,
    rows: Annotated[
        int | None, typer.Option(min=1, help="Rows of SOURCE, where they are known and counting takes too long.")
    ] = None,
    price: Annotated[
        str | None, typer.Option(metavar="PRICE/h", help="What an hour of a machine like this one costs.")
    ] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Plan for the first rows of the manifest only.")] = None,
    config: Configs = None,
    sets: Sets = None,
    as_json: Json = False,
) -> None:
    """Try a few rows of an embed job here and say what all of it will take and cost. Nothing is kept."""
    with importing():
        from jobs.config.load import load_config
        from jobs.config.model_names import models_named
        from jobs.plan import PlanConfig, as_text, run

    base: dict[str, Any] = {"source": {"uri": source} | ({} if limit is None else {"limit": limit})}
    values = {"sample": sample, "rows": rows, "price": price}
    base |= {key: value for key, value in values.items() if value is not None}
    base |= models_named(model) if model else {}
    unused = {"model", "models"} if model else set()
    result = run(load_config(PlanConfig, files=config or (), sets=sets or (), base=base, without=unused))
    print_result(result.model_dump(mode="json") if as_json else as_text(result), as_json)
