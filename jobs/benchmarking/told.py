"""What the source says of the images of a benchmark: labels, captions, groups."""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from jobs.benchmarking.config import BenchmarkConfig
from jobs.benchmarking.measure import SharedImages
from jobs.benchmarking.results import SampleResult
from jobs.benchmarking.sample import DrawnImages
from operators.base.columns import SHA256
from operators.base.errors import UserError
from operators.storage.redact import redact_uri
from pipelines.evaluation.labels import check_label
from pipelines.judging.labelled import groups_of
from pipelines.manifests.manifest import Manifest


@dataclass(frozen=True, kw_only=True)
class Told:
    """What the source says of the images, in their order."""

    labels: np.ndarray | None
    """(N,) int64, -1 for none."""
    classes: list[str]
    captions: list[str | None] | None
    groups: np.ndarray


def told_by_source(config: BenchmarkConfig, rows: pa.Table) -> Told:
    def column(name: str | None) -> list[object] | None:
        return None if name is None else list(rows[config.kept(name)].to_pylist())

    labels, classes = None, []
    if config.label is not None:
        check_label(redact_uri(config.source.uri), rows.schema, config.kept(config.label))
        values = column(config.label) or []
        names = sorted({value for value in values if value is not None}, key=str)
        numbers = {name: at for at, name in enumerate(names)}
        labels = np.array([-1 if value is None else numbers[value] for value in values], np.int64)
        classes = [str(name) for name in names]
        if len(classes) < 2:
            raise UserError(
                f"{redact_uri(config.source.uri)}: --label {config.label} has {len(classes)} different values among "
                f"{rows.num_rows:,} images; two are needed at least"
            )
    captions = column(config.caption)
    keys = [rows[SHA256.name].to_pylist(), column(config.group)]
    return Told(
        labels=labels,
        classes=classes,
        captions=None if captions is None else [None if each is None else str(each) for each in captions],
        groups=groups_of(*(key for key in keys if key is not None)),
    )


def sample_result(
    config: BenchmarkConfig, manifest: Manifest, drawn: DrawnImages, told: Told, shared: SharedImages | None
) -> SampleResult:
    rows = np.arange(drawn.rows.num_rows) if shared is None else shared.rows
    numbers = np.zeros(0, np.int64) if told.labels is None else told.labels[rows] + 1
    counts = np.bincount(numbers, minlength=len(told.classes) + 1)
    return SampleResult(
        source=manifest.uri,
        rows=manifest.num_rows,
        drawn=drawn.drawn,
        images=0 if shared is None else len(rows),
        failures=drawn.failures,
        failure_example=drawn.failure_example,
        groups=len(np.unique(told.groups[rows])),
        labels={name: int(counts[at + 1]) for at, name in enumerate(told.classes)},
        changed=drawn.copied,
    )
