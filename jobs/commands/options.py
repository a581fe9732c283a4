"""What the verbs of `pixlake` share: exit codes, options of one meaning, and how a result is printed."""

import json
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from enum import IntEnum
from typing import Annotated, Any

import typer


class Exit(IntEnum):
    COMPLETE = 0
    FAILED = 1
    USAGE = 2
    GATE = 3
    MANY_FAILED = 4
    RESUMABLE = 75


TableArgument = Annotated[
    str, typer.Argument(metavar="TABLE", help="DB/NAME, as in ./lake/photos or s3://bucket/lake/photos.")
]
Sets = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Override one value: --set cluster.batch_size=64."),
]
Configs = Annotated[
    list[str] | None, typer.Option("--config", metavar="FILE", help="YAML, or a name in conf/: clusters/gpu-cluster.")
]
At = Annotated[
    str | None, typer.Option(metavar="TAG|VERSION", help="The table as it was then: a tag's name, or a version.")
]
ModelName = Annotated[
    str | None, typer.Option("--name", metavar="NAME", help="Call the new model so: ./lake/models/NAME.")
]
ModelFolder = Annotated[
    str | None, typer.Option("--out", metavar="FOLDER", help="Where the new model goes, in place of --name.")
]
TrainingWorkers = Annotated[int | None, typer.Option(min=1, help="Of Ray Train; one needs no Ray. Default: 1.")]
TrainingDevices = Annotated[str | None, typer.Option(help="auto, cpu or cuda. Default: auto.")]
ForwardPrecision = Annotated[str | None, typer.Option(help="auto, float32 or bf16. Default: float32.")]
DecodedFolder = Annotated[
    str | None, typer.Option(metavar="FOLDER", help="Keep decoded images and the checkpoint there.")
]
LooksFile = Annotated[
    str | None, typer.Option(metavar="FILE", help="Gets a line of JSON for each look at held-out images.")
]
LooksPlot = Annotated[str | None, typer.Option(metavar="FILE", help="A PNG of loss and figures by step.")]
FirstRows = Annotated[int | None, typer.Option(min=1, help="Draw from the first rows of the source only.")]
Json = Annotated[bool, typer.Option("--json", help="One JSON object on stdout, nothing else there.")]


def new_model_folder(name: str | None, out: str | None) -> str | None:
    """The folder that `--name` or `--out` says; None for neither. Raises `ConfigError` for both."""
    from jobs.config.load import ConfigError

    if name is not None and out is not None:
        raise ConfigError("--name and --out are both given; --out says the whole folder")
    return out if name is None else f"./lake/models/{name}"


def print_result(result: Any, as_json: bool) -> None:
    sys.stdout.write((json.dumps(result, indent=2) if as_json else str(result)) + "\n")


@contextmanager
def importing(patience_s: float = 2.0) -> Iterator[None]:
    """Around a verb's imports: where they take longer, on a busy machine half a minute, stderr says so."""
    timer = threading.Timer(patience_s, lambda: print("importing libraries", file=sys.stderr))
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
