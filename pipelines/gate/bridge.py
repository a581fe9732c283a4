"""A bridge from a new column to an old one: fitted on most rows that have both, measured on the others."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from operators.base.columns import ID
from operators.base.errors import UserError
from operators.normalize import l2_normalize
from operators.storage.artifacts import Artifact, ArtifactRef, write_artifact
from operators.vectors.bridge_fit import FittedBridge, fit_bridges
from operators.vectors.exact_sums import ExactSums
from pipelines.evaluation.queries import as_queries, has_vectors
from pipelines.gate.bridge_sums import SumPairs, no_pairs, vector_pairs
from pipelines.gate.rows import rows_with
from pipelines.index.records import column_metric
from pipelines.neighbours.recall import TIES, recall
from pipelines.search.column import SearchColumn, search_column
from pipelines.search.nearest import ROW_ID, take_rows
from pipelines.search.scan import scan
from pipelines.space.bridge import BRIDGE_PREFIX, KIND, BridgeLoss, BridgeRecord, cross
from pipelines.space.field import DIGEST_KEY, read_canaries, read_space
from pipelines.space.samples import mixed, row_sample
from pipelines.table.positions import table_keys
from pipelines.table.publish import update_table_metadata
from pipelines.table.table import Table
from pipelines.table.tasks import RunTasks, fragment_groups, tasks_here

K = 10
_HELD_OUT_ROWS, _MOST_HELD_OUT = 4000, 0.2
"""Rows that are measured on, unless they were more than this share of all."""
_QUERIES = 200
_ROWS_PER_TASK = 262_144


@dataclass(frozen=True, kw_only=True)
class _HeldOut:
    """Rows with both vectors that no bridge is fitted on."""

    choosing: pa.Table
    """Half of them, by which the best of several maps is chosen."""
    measuring: pa.Table
    """The other half, which says what it loses."""


def fit_bridge(
    table: Table,
    *,
    old: str,
    new: str,
    name: str,
    execute: RunTasks = tasks_here,
    on_rows: Callable[[int, int], None] = lambda done, total: None,
) -> BridgeRecord:
    """Fit a bridge on the rows that have both vectors, measure what it loses, store it and record it in the table.

    Of an orthogonal map and ridge regressions the one with the best cosine on held-out rows is taken. After each task
    `on_rows` is called with the rows read and the rows in all. The artifact is the same bytes for the same rows.
    Raises `UserError` where too few rows have both, `CommitFailedError` where storage stays away.
    """
    dataset = table.latest()
    where = rows_with(dataset.schema, [old, new])
    total = dataset.count_rows()
    fraction = min(_MOST_HELD_OUT, _HELD_OUT_ROWS / max(total, 1))
    held = _held_out(dataset, old, new, where, fraction)
    task = SumPairs(table=table, version=dataset.version, new=new, old=old, held_out=fraction)
    sums = no_pairs(dataset.schema, new, old)
    done = 0
    for summed in execute(task, fragment_groups(dataset.get_fragments(), _ROWS_PER_TASK)):
        sums.merge(summed.sums)
        done += summed.table_rows
        on_rows(done, total)
    fitted = _best(sums, held.choosing, old, new)
    loss = _loss(table, dataset, fitted, held.measuring, old, new, where)
    record = _record(table, dataset, fitted, sums.rows, loss, old, new, name)
    update_table_metadata(table.uri, {BRIDGE_PREFIX + name: record.model_dump_json()}, table.storage)
    return record


def _held_out(dataset: Any, old: str, new: str, where: str, fraction: float) -> _HeldOut:
    """The sample by position: the regions of an image stay together."""
    scanner = dataset.scanner(columns=["shard", "row"], filter=where, with_row_id=True, use_scalar_index=False)
    keys, row_ids = np.zeros(0, np.int64), np.zeros(0, np.uint64)
    for batch in scanner.to_batches():
        sampled = row_sample(own := table_keys(batch), fraction)
        keys = np.concatenate([keys, own[sampled]])
        row_ids = np.concatenate([row_ids, batch[ROW_ID].to_numpy()[sampled]])
    # Rows of a table of regions are more than its positions are sampled for.
    first = np.sort(np.argsort(mixed(keys.astype(np.uint64)), kind="stable")[: 2 * _HELD_OUT_ROWS])
    keys, row_ids = keys[first], row_ids[first]
    halves = (mixed(keys.astype(np.uint64)) & np.uint64(1)).astype(bool)
    if halves.all() or not halves.any():
        raise UserError(
            f"{dataset.uri}: too few rows have a vector in both {old} and {new} to fit a bridge and measure it "
            f"({len(keys)} were drawn to measure on); fill more of {new} first"
        )
    return _HeldOut(
        choosing=_rows(dataset, row_ids[halves], old, new), measuring=_rows(dataset, row_ids[~halves], old, new)
    )


def _rows(dataset: Any, row_ids: np.ndarray, old: str, new: str) -> pa.Table:
    rows = take_rows(dataset, row_ids, [ID.name, old, new])
    return rows.append_column(ROW_ID, pa.array(row_ids))


def _best(sums: ExactSums, choosing: pa.Table, old: str, new: str) -> FittedBridge:
    new_ND, old_ND = _pairs(choosing, old, new)
    return max(fit_bridges(sums, new_ND.shape[1]), key=lambda fitted: _cosine(fitted, new_ND, old_ND))


def _pairs(rows: pa.Table, old: str, new: str) -> tuple[np.ndarray, np.ndarray]:
    return vector_pairs(rows[new].combine_chunks(), rows[old].combine_chunks())


def _cosine(fitted: FittedBridge, new_ND: np.ndarray, old_ND: np.ndarray) -> float:
    """The mean cosine of mapped vectors to the old ones; 0 for one that has no direction."""
    mapped_ND = cross(new_ND, fitted.mean_new, fitted.weights, fitted.mean_old).astype(np.float64)
    there_ND = old_ND.astype(np.float64)
    lengths = np.linalg.norm(mapped_ND, axis=1) * np.linalg.norm(there_ND, axis=1)
    products = np.einsum("nd,nd->n", mapped_ND, there_ND)
    return float(np.divide(products, lengths, out=np.zeros_like(products), where=lengths > 0).mean())


def _loss(
    table: Table, dataset: Any, fitted: FittedBridge, measuring: pa.Table, old: str, new: str, where: str
) -> BridgeLoss:
    new_ND, old_ND = _pairs(measuring, old, new)
    usable = pc.and_(has_vectors(measuring[old]), has_vectors(measuring[new]))
    rows = measuring.filter(usable).slice(0, _QUERIES)
    if not len(rows):
        raise UserError(f"{dataset.uri}: none of the rows to measure a bridge on has a direction in {old} and {new}")
    wanted, own = as_queries(dataset, rows, new), as_queries(dataset, rows, old)
    bridged = [l2_normalize(cross(each, fitted.mean_new, fitted.weights, fitted.mean_old)) for each in wanted.vectors]
    depth = K + TIES + max(len(each) for each in wanted.left_out)
    columns = {name: _column(table, dataset, name) for name in (new, old)}
    left_out = [*wanted.left_out, *wanted.left_out]
    truth = list(_others(dataset, columns[new], wanted.vectors, wanted.left_out, depth, where))
    found = list(_others(dataset, columns[old], [*bridged, *own.vectors], left_out, depth, where))
    known = min(K, min(len(each.row_ids) for each in truth))
    ids = [each.row_ids[:K] for each in found]
    return BridgeLoss(
        recall=recall(ids[: len(rows)], truth, K),
        overlap=recall(ids[len(rows) :], truth, K),
        k=max(known, 1),
        queries=len(rows),
        cosine=_cosine(fitted, new_ND, old_ND),
        rows=len(new_ND),
    )


def _others(
    dataset: Any, column: SearchColumn, queries: list[np.ndarray], left_out: list[np.ndarray], depth: int, where: str
) -> Iterator[Any]:
    best = scan(dataset, column, queries, depth, where=where)
    return (found.without(own) for found, own in zip(best, left_out, strict=True))


def _column(table: Table, dataset: Any, name: str) -> SearchColumn:
    field, metric = dataset.schema.field(name), column_metric(dataset, name)
    return search_column(field, table.storage, artifacts=table.artifacts, metric=metric)


def _record(
    table: Table, dataset: Any, fitted: FittedBridge, rows: int, loss: BridgeLoss, old: str, new: str, name: str
) -> BridgeRecord:
    field, digest = dataset.schema.field(new), dataset.schema.field(old).metadata[DIGEST_KEY].decode()
    space, model = read_space(field, str(table))
    settings = {"kind": fitted.kind, "penalty": fitted.penalty, "to_digest": digest}
    artifact = Artifact(kind=KIND, tensors=fitted.tensors(), space=space, rows=rows, settings=settings)
    ref: ArtifactRef = write_artifact(artifact, table.artifacts, table.storage)
    return BridgeRecord(
        name=name,
        kind=fitted.kind,
        penalty=fitted.penalty,
        artifact=ref,
        space=space,
        model=model,
        canaries=read_canaries(field),
        to_digest=digest,
        rows=rows,
        loss=loss,
        made_at=datetime.now(UTC).isoformat(timespec="seconds"),
    )
