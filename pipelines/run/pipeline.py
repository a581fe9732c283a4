"""A whole run as plain data: a source, stages, a sink."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pipelines.run.stage import Stage

if TYPE_CHECKING:
    from pipelines.commits.sink import Sink
    from pipelines.sources.source import Source


@dataclass(frozen=True, kw_only=True)
class Pipeline:
    source: "Source"
    stages: tuple[Stage, ...]
    sink: "Sink"
