"""Rows of a table drawn at random, and what their source gives for them today: the same bytes, the same vectors?"""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from operators.base.columns import DELETED_AT, ERROR_CLASS, ID, REGION, SHA256, URI
from operators.base.rows import good_rows
from operators.storage.redact import reason_of
from operators.storage.stores import StorageOptions
from pipelines.audit.faults import Fault, places
from pipelines.audit.scan import BrokenFragments
from pipelines.scan.live import live_rows
from pipelines.space.flat import flat_numpy
from pipelines.space.labelling import Labelling, LabelRows, labelling_chain
from pipelines.space.reduction import ReduceVectors, Reduction, reduction_chain


def draw(dataset: Any, count: int, columns: Iterable[str], broken: BrokenFragments) -> pa.Table:
    """At most `count` live rows of a Lance dataset, with `id`, `uri`, `sha256`, their positions and the `columns`.

    Which ones depends on the version of the table alone: the same audit draws the same rows, the next version others.
    Fragments that cannot be read are left out.
    """
    whole = [each for each in dataset.get_fragments() if each.fragment_id not in broken.reasons]
    sizes = np.array([fragment.count_rows() for fragment in whole], np.int64)
    ends, total = np.cumsum(sizes), int(sizes.sum())
    chosen = np.sort(np.random.default_rng(dataset.version).choice(total, min(count, total), replace=False))
    wanted = [ID.name, URI.name, SHA256.name, "shard", "row", *columns]
    marks = [DELETED_AT.name] if live_rows(dataset.schema) is not None else []
    names = [name for name in dict.fromkeys([*wanted, *marks]) if name in dataset.schema.names]
    parts = [pa.schema([dataset.schema.field(name) for name in names]).empty_table()]
    of_fragment = np.searchsorted(ends, chosen, "right")
    for at in np.unique(of_fragment).tolist():
        within = chosen[of_fragment == at] - (ends[at] - sizes[at])
        try:
            parts.append(whole[at].take(within.tolist(), columns=names).select(names))
        except (OSError, ValueError, RuntimeError) as error:
            broken.reasons[whole[at].fragment_id] = reason_of(error)
    drawn = pa.concat_tables(parts)
    return drawn.filter(pa.array(drawn[marks[0]].is_null())) if marks else drawn


@dataclass
class SampleAudit:
    """What the drawn rows gave."""

    drawn: int = 0
    compared: int = 0
    """Rows of which the source gave the bytes that are recorded, and so a vector to compare with."""
    least_cosine: float | None = None
    changed: int = 0
    """Rows whose source has other bytes now: nothing can be said of their vectors."""
    changed_examples: list[str] = field(default_factory=list)
    unreachable: Counter[str] = field(default_factory=Counter)
    """Class of failure -> rows whose source gave no image today."""
    no_sha256: int = 0
    """Rows of which the table does not say what bytes they were made of, and whose vectors differ."""
    wrong_rows: list[int] = field(default_factory=list)
    """Keys of rows whose id is not the one that the manifest has there."""
    wrong: dict[str, list[int]] = field(default_factory=dict)
    """Vector column -> keys of rows with another vector than their bytes give."""

    def faults(self) -> list[Fault]:
        found = [
            Fault(
                kind="wrong_vector",
                where=column,
                count=len(keys),
                what=f"{len(keys):,} of {self.compared:,} rows that were recomputed have another vector than the bytes "
                "that they were made of give",
                examples=places(np.array(keys)),
            )
            for column, keys in self.wrong.items()
        ]
        if self.wrong_rows:
            found.append(
                Fault(
                    kind="wrong_row",
                    where="vectors",
                    count=len(self.wrong_rows),
                    what=f"{len(self.wrong_rows):,} of {self.drawn:,} rows have another id than the manifest has at "
                    "their position",
                    examples=places(np.array(self.wrong_rows)),
                )
            )
        return found


def compare(
    audit: SampleAudit, stored: pa.Table, made: pa.Table, thresholds: Mapping[str, float], *, by_position: bool
) -> None:
    """Add to the audit what today's operators `made` of the images of the `stored` rows, a row for each.

    `thresholds`: column -> the least cosine of vectors that count as the same. `by_position`: `made` was read from the
    manifest at the rows' positions, so that ids must agree.
    """
    good = good_rows(made).to_pylist()
    for at in range(stored.num_rows):
        row, key = stored.slice(at, 1), _key(stored, at)
        name = row[ID.name][0].as_py()
        if by_position and made[ID.name][at].as_py() != name:
            audit.wrong_rows.append(key)
            continue
        if not good[at]:
            audit.unreachable[made[ERROR_CLASS.name][at].as_py()] += 1
            continue
        known = row[SHA256.name][0].as_py() if SHA256.name in stored.column_names else None
        now = made[SHA256.name][at].as_py()
        if known is not None and now is not None and known != now:
            audit.changed += 1
            audit.changed_examples = [*audit.changed_examples, name or ""][:5]
            continue
        _compare_vectors(audit, row, made.slice(at, 1), key, thresholds, sure=known is not None or now is None)


def _compare_vectors(
    audit: SampleAudit, row: pa.Table, made: pa.Table, key: int, thresholds: Mapping[str, float], *, sure: bool
) -> None:
    audit.compared += 1
    for column, least in thresholds.items():
        if not row[column].is_valid()[0].as_py():
            # What has no vector is told by the reading of all vectors.
            continue
        cosine = _cosine(row, made, column)
        audit.least_cosine = cosine if audit.least_cosine is None else min(audit.least_cosine, cosine)
        # NaN compares as false with anything, so it must be the comparison that passes.
        if cosine >= least:
            continue
        if sure:
            audit.wrong.setdefault(column, []).append(key)
        else:
            audit.no_sha256 += 1


def _cosine(row: pa.Table, made: pa.Table, column: str) -> float:
    """The least cosine of the row's vectors and those made; -1 where they are not as many, or have no direction."""
    there, here = (flat_numpy(each[column]).astype(np.float64) for each in (row, made))
    if REGION.name in row.column_names and REGION.name not in made.column_names:
        index = (row[REGION.name][0].as_py() or {}).get("index")
        here = here[index : index + 1] if index is not None and 0 <= index < len(here) else here[:0]
    if there.shape != here.shape or not len(there) or not np.isfinite(there).all():
        return -1.0
    lengths = np.linalg.norm(there, axis=1) * np.linalg.norm(here, axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        cosines = np.nan_to_num(np.einsum("nd,nd->n", there, here) / lengths, nan=-1.0)
    return float(cosines.min())


def _key(rows: pa.Table, at: int) -> int:
    return (int(rows["shard"][at].as_py()) << 32) | int(rows["row"][at].as_py())


def audit_derived(
    stored: pa.Table, reductions: Mapping[str, Reduction], make: Mapping[str, ReduceVectors]
) -> list[Fault]:
    """Derived columns of the rows, compared bit for bit with what their base column gives. Where a row has nothing in
    the derived column it was not filled yet, or nothing came of it."""
    found = []
    for column in reductions:
        there = stored.filter(stored[column].is_valid())
        if not there.num_rows:
            continue
        made, _ = make[column](there[reductions[column].base].combine_chunks())
        kept = there[column].combine_chunks()
        wrong = [at for at in range(len(kept)) if made[at].as_py() != kept[at].as_py()]
        if wrong:
            found.append(
                Fault(
                    kind="derived",
                    where=column,
                    count=len(wrong),
                    what=f"{len(wrong):,} of {len(kept):,} rows that were looked at are not what "
                    f"{reductions[column].base} gives",
                    examples=places(np.array([_key(there, at) for at in wrong])),
                )
            )
    return found


def audit_labels(stored: pa.Table, labellings: Mapping[str, Labelling], storage: StorageOptions) -> list[Fault]:
    """Clusters, classes and their figures, compared bit for bit with what the stored vectors give, as above. What
    neighbours say is asked once, and is not compared."""
    found = []
    for column, labelling in labellings.items():
        there = stored.filter(pc.and_(stored[column].is_valid(), stored[labelling.base].is_valid()))
        if not there.num_rows or not labelling.fills_later_rows:
            continue
        [operator] = labelling_chain({column: labelling}, storage)
        [made] = LabelRows(operator, labelling.base, [column])(there.select([labelling.base]))
        wrong = np.flatnonzero(pc.fill_null(pc.not_equal(made, there[column].combine_chunks()), True))
        if len(wrong):
            found.append(
                Fault(
                    kind="derived",
                    where=column,
                    count=len(wrong),
                    what=f"{len(wrong):,} of {there.num_rows:,} rows that were looked at are not what {labelling.base} "
                    "gives",
                    examples=places(np.array([_key(there, at) for at in wrong.tolist()])),
                )
            )
    return found


def reducers(reductions: Mapping[str, Reduction], storage: Any) -> dict[str, ReduceVectors]:
    """What makes each derived column."""
    return {
        name: ReduceVectors(reduction_chain(each, name, storage), each.base, name) for name, each in reductions.items()
    }
