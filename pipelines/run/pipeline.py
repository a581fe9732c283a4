"""A whole run as plain data: a source, stages, a sink."""

from dataclasses import dataclass

from pipelines.commits.sink import Sink
from pipelines.run.stage import Stage
from pipelines.sources.source import Source


@dataclass(frozen=True, kw_only=True)
class Pipeline:
    """What an executor runs."""

    source: Source
    stages: tuple[Stage, ...]
    sink: Sink
