"""A column's index built, measured, and put in the place of the old one; or extended to rows that came later."""

import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Any

from lance.dataset import Index

from operators.base.failpoints import failpoint
from operators.storage.artifacts import ArtifactRef, locate_artifact, read_artifact, write_artifact
from pipelines.index.build import (
    IndexWork,
    Measurement,
    SearchGoal,
    Truth,
    build_segments,
    measure,
)
from pipelines.index.deleted_entries import may_give_deleted
from pipelines.index.model import IndexModel, IndexSpec, train_model
from pipelines.index.recall import K, Settings
from pipelines.index.records import (
    IndexRecord,
    forget_index_records,
    fragment_rows,
    unindexed_fragments,
    vector_indexes,
    write_index_record,
)
from pipelines.index.segments import discard, publish, segments_of
from pipelines.space.samples import sample_vectors
from pipelines.table.errors import RecallError, TableError
from pipelines.table.table import open_dataset


@dataclass(frozen=True, kw_only=True)
class Tried:
    """One candidate, built in full."""

    type: str
    parameters: dict[str, int]
    nprobes: int
    refine: int | None
    recall: float
    """The index recall."""
    size_bytes: int


def build_index(
    work: IndexWork,
    specs: Sequence[IndexSpec],
    truth: Truth,
    goal: SearchGoal,
    *,
    space: dict[str, Any],
) -> tuple[IndexRecord, list[Tried]]:
    """Build the specs in order; publish and record the first that reaches the target, its model kept beside the table.

    Raises `RecallError` where none does; then nothing is changed.
    """
    tried: list[Tried] = []
    for spec in specs:
        started = time.monotonic()
        # Here, where every core may be used: a task on Ray has one.
        sample = sample_vectors(work.dataset, spec.column, spec.sample_rows, seed=spec.seed)
        model = train_model(sample, spec)
        failpoint("index.trained")
        name = f"{spec.column}_{spec.type.lower()}_{uuid.uuid4().hex[:8]}"
        rows = fragment_rows(work.dataset)
        segments = build_segments(work, spec, model, name, rows)
        found = measure(work, spec, segments, truth, goal)
        tried.append(_tried(spec, found))
        if found.reached.recall < goal.target:
            discard(work.dataset, segments, work.storage)
            continue
        kept = write_artifact(model.to_artifact(spec, space), work.table.artifacts, work.storage)
        record = _record(
            spec,
            name,
            kept,
            found,
            goal.target,
            truth,
            rows=sum(rows.values()),
            started=started,
        )
        # First: an index without its record would be searched blindly, and no update would take it.
        write_index_record(work.table, record)
        failpoint("index.recorded")
        _publish(work, spec.column, segments)
        return record, tried
    raise RecallError(_too_little(work, tried, goal))


def update_index(work: IndexWork, column: str, old: IndexRecord, truth: Truth, goal: SearchGoal) -> IndexRecord:
    """Add the rows that the index lacks, with the model it has; measure and record what it then finds.

    All rows are indexed anew, without training, where the index has many segments, since Lance cannot merge what is
    merged already, and where it may hold deleted rows. Raises `RecallError` where it no longer reaches the target; then
    the index stays as it was.
    """
    started = time.monotonic()
    spec = IndexSpec(
        column=column,
        type=old.type,
        metric=old.metric,
        sample_rows=old.sample_rows,
        seed=old.seed,
        **old.parameters,
    )
    missing = unindexed_fragments(work.dataset, column)
    kept = locate_artifact(old.model, work.table.artifacts, work.storage)
    model = IndexModel.from_artifact(read_artifact(kept, work.storage))
    there = [each for each in segments_of(work.dataset, vector_indexes(work.dataset, column)) if each.name == old.name]
    anew = len(there) >= work.most_segments or may_give_deleted(work.dataset, column)
    removed = there if anew else []
    added = build_segments(work, spec, model, old.name, fragment_rows(work.dataset) if removed else missing)
    known = () if goal.nprobes or goal.refine else (Settings(old.nprobes, old.refine),)
    found = measure(work, spec, added, truth, goal, first=known, keep="" if removed else old.name)
    if found.reached.recall < goal.target:
        discard(work.dataset, added, work.storage)
        raise RecallError(_too_little(work, [_tried(spec, found)], goal))
    record = _record(
        spec,
        old.name,
        old.model,
        found,
        goal.target,
        truth,
        rows=sum(fragment_rows(work.dataset).values()),
        started=started,
    )
    write_index_record(work.table, record)
    failpoint("index.recorded")
    publish(work.dataset, added, removed, work.storage)
    return record


def _publish(work: IndexWork, column: str, segments: Sequence[Index]) -> None:
    """Publish the segments in place of every index that the column has by now."""
    latest = open_dataset(work.table.uri, work.storage)
    if latest is None:
        raise TableError(f"{work.dataset.uri}: the table was dropped while its index was built")
    replaced = vector_indexes(latest, column)
    publish(work.dataset, segments, segments_of(latest, replaced), work.storage)
    failpoint("index.published")
    forget_index_records(work.table, [index.name for index in replaced])


def _tried(spec: IndexSpec, found: Measurement) -> Tried:
    settings, recall = found.reached
    return Tried(
        type=spec.type,
        parameters=spec.parameters,
        nprobes=settings.nprobes,
        refine=settings.refine,
        recall=round(recall, 4),
        size_bytes=found.size_bytes,
    )


def _too_little(work: IndexWork, tried: Sequence[Tried], goal: SearchGoal) -> str:
    lines = [
        f"  {each.type} {' '.join(f'{name}={value}' for name, value in each.parameters.items())}: index recall@{K} "
        f"{each.recall:.4f} at nprobes={each.nprobes}, refine={each.refine}"
        for each in tried
    ]
    return (
        f"{work.dataset.uri}: no index was published, what was in force still is: index recall@{K} stays under "
        f"{goal.target:g}\n" + "\n".join(lines) + "\n  Try a type that keeps more of a vector (IVF_RQ with --num-bits "
        "5, IVF_SQ, IVF_FLAT), fewer partitions (--num-partitions), a larger --nprobes or --refine if they were given, "
        "or a lower --target-recall"
    )


def _record(
    spec: IndexSpec,
    name: str,
    model: ArtifactRef,
    found: Measurement,
    target: float,
    truth: Truth,
    *,
    rows: int,
    started: float,
) -> IndexRecord:
    settings, recall = found.reached
    return IndexRecord(
        name=name,
        type=spec.type,
        metric=spec.metric,
        parameters=spec.parameters,
        model=model,
        sample_rows=spec.sample_rows,
        seed=spec.seed,
        nprobes=settings.nprobes,
        refine=settings.refine,
        recall=round(recall, 4),
        target_recall=target,
        k=K,
        queries=len(truth.queries),
        p50_ms=round(found.latency.p50_ms, 2),
        p99_ms=round(found.latency.p99_ms, 2),
        rows=rows,
        segments=found.segments,
        size_bytes=found.size_bytes,
        seconds=round(time.monotonic() - started, 2),
        built_at=datetime.now(UTC).isoformat(timespec="seconds"),
        versions={library: version(library) for library in ("pixlake", "pylance", "faiss-cpu")},
    )
