"""`pixlake models`."""

from typing import Annotated

import typer

from jobs.commands.options import Configs, Json, Sets, print_result


def models(
    name: Annotated[str | None, typer.Argument(metavar="NAME", help="A model to show, or open_clip or timm.")] = None,
    config: Configs = None,
    sets: Sets = None,
    as_json: Json = False,
) -> None:
    """Models by name; with a NAME, its size and preprocessing, with `--set model.KEY=VALUE` as they would be set."""
    from jobs.config.load import load_config
    from jobs.models import ModelsConfig, as_text, run

    listed = run(load_config(ModelsConfig, files=config or (), sets=sets or (), base={"name": name}))
    print_result(listed.model_dump(mode="json") if as_json else as_text(listed), as_json)
