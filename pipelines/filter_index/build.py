"""Indexes on ordinary columns, for filters: built by workers, asked what they answer (tested against a scan), and
extended to later rows."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Any, Literal
from uuid import uuid4

import lance
import xxhash
from lance.dataset import Index

from operators.base.columns import ID, REGION_ID, URI
from pipelines.filter_index.advice import advice
from pipelines.filter_index.former import Former, filter_kind
from pipelines.filter_index.kinds import scalar_kind
from pipelines.filter_index.trial import Difference, FilterTrial, Trial
from pipelines.filter_index.trust import (
    FILTER_PREFIX,
    FilterRecord,
    doubts,
    filter_indexes,
    read_filter_record,
    segment_ids,
)
from pipelines.index.build import IndexWork
from pipelines.index.records import covered_fragments, fragment_rows
from pipelines.index.segments import build_scalar_segment, discard, publish, segments_of, share_out, trial_version
from pipelines.table.publish import update_table_metadata

OURS = "pixlake_"
"""Prefix of the name of every filter index that Pixlake builds; the column follows. Any other name is another
tool's."""

LOOKED_UP = (ID.name, URI.name, REGION_ID.name)
"""Columns that are looked up by value: wherever they exist, they get an index."""


@dataclass(frozen=True, kw_only=True)
class Brought:
    """The outcome for a column's index."""

    kind: str
    status: Literal["built", "updated", "asked", "anew", "up_to_date", "refused"]
    """`asked`: the index stays as it was, and was asked again what it answers. `anew`: it was rebuilt."""
    why: str = ""


def scalar_columns(
    dataset: "lance.LanceDataset", always: Sequence[str], asked: Sequence[str], former: Sequence[Former] = ()
) -> dict[str, str]:
    """Column -> kind: columns that Pixlake has indexed, those of `always` that exist, and those asked for, as `COLUMN`
    or `COLUMN=KIND`. An index keeps its kind unless another is asked for."""
    schema = dataset.schema
    there = {each.column: each.kind for each in former}
    there |= {
        index.field_names[0]: kind for index in filters_of_ours(dataset) if (kind := filter_kind(index)) is not None
    }
    kinds = dict(there)
    for column in always:
        if column in schema.names:
            # Last: as long as one of these is an earlier release's, its others are recognised.
            kinds[column] = kinds.pop(column, "") or scalar_kind(schema, column, None)
    for each in asked:
        column, _, kind = each.partition("=")
        kinds[column] = scalar_kind(schema, column, kind.upper() or None)
    return kinds


def bring_up(work: IndexWork, column: str, kind: str, former: Sequence[Former] = ()) -> Brought:
    """Make the column's index of this kind cover all rows, once it has answered every filter as a scan does.

    Missing rows are added to it; where that is not possible it is rebuilt, and the `former` indexes are removed. An
    index that answers otherwise is not published; the one in force stays, unless it answers otherwise as well.
    """
    dataset = work.dataset
    mine, there = filters_of_ours(dataset, column), fragment_rows(dataset)
    missing = fragment_rows(dataset, without=covered_fragments(mine))
    why = _why_anew(dataset, column, kind, mine, former) if mine or former else ""
    if mine and missing and not why and len(segments_of(dataset, mine)) >= work.most_segments:
        why = f"rows have come, and it has {work.most_segments} or more pieces"
    doubt = doubts(dataset).get(column) if mine else None
    if not there or (mine and not (why or missing or doubt)):
        return Brought(kind=kind, status="up_to_date")
    trial = FilterTrial(dataset, column)
    if mine and not why:
        difference = _publish_if_right(work, column, kind, trial, missing, [], former)
        if difference is None:
            return Brought(kind=kind, status="updated" if missing else "asked", why="" if missing else doubt or "")
        why = f"{difference.filter} gave {difference.by_index} by the index, and {difference.by_scan} by a scan"
    difference = _publish_if_right(work, column, kind, trial, there, segments_of(dataset, mine), former)
    if difference is None:
        return Brought(kind=kind, status="anew" if why else "built", why=why)
    return Brought(kind=kind, status="refused", why=_refuse(work, column, kind, trial, difference, former))


def filters_of_ours(dataset: "lance.LanceDataset", column: str | None = None) -> Sequence[Any]:
    """Lance's descriptions of the filter indexes that Pixlake has built."""
    return [index for index in filter_indexes(dataset, column) if index.name.startswith(OURS)]


def _why_anew(
    dataset: "lance.LanceDataset", column: str, kind: str, mine: Sequence[Any], former: Sequence[Former]
) -> str:
    """Why the index must be rebuilt; empty where rows can be added to it."""
    if former:
        hidden = [each for each in former if each.passed_over]
        version = f" in a format that Lance {lance.__version__} does not keep up" if hidden else ""
        return f"{former[0].name} was made by an earlier release of Pixlake{version}"
    if (have := filter_kind(mine[0])) != kind:
        return f"it was a {have}"
    record = read_filter_record(dataset, column)
    if dataset.has_stable_row_ids and (record is None or record.data != _data_digest(dataset)):
        # The piece with the old value holds the very row id that a piece with the new one would: both would answer.
        return "rows have changed that keep their row ids, and a piece that is added leaves their old values in force"
    return ""


def _publish_if_right(
    work: IndexWork,
    column: str,
    kind: str,
    trial: FilterTrial,
    fragments: Mapping[int, int],
    removed: Sequence[Index],
    former: Sequence[Former],
) -> Difference | None:
    """Publish an index on the fragments' rows beside what is there, without the `removed`. None where it was published,
    else the filter on which it differs from a scan."""
    dataset, seen = work.dataset, [each.segment for each in former if not each.passed_over]
    added = _build(work, column, kind, fragments)
    with trial_version(dataset, added, [*removed, *seen], work.storage) as there:
        answers = trial.of(there)
        ids = segment_ids(filter_indexes(there, column))
    if answers.difference is not None:
        discard(dataset, added, work.storage)
        return answers.difference
    _record(work, column, kind, ids, answers)
    leaving = [*removed, *(each.segment for each in former)]
    if added or leaving:
        publish(dataset, added, leaving, work.storage)
    return None


def _build(work: IndexWork, column: str, kind: str, fragments: Mapping[int, int]) -> list[Index]:
    """Build one piece over the fragments. Raises `UserError` where Lance has no such index for the column's type."""
    if not fragments:
        return []
    build = partial(build_scalar_segment, *work.opened, column, kind, _name(work.dataset, column))
    return list(work.execute(build, share_out(fragments, 1)))


def _name(dataset: "lance.LanceDataset", column: str) -> str:
    """Name of the index that is there, or a new one that no other column's index has: columns can be renamed."""
    for index in filters_of_ours(dataset, column):
        return str(index.name)
    taken = {index.name for index in dataset.describe_indices()}
    name = f"{OURS}{column}"
    return f"{name}_{uuid4().hex[:8]}" if name in taken else name


def _record(work: IndexWork, column: str, kind: str, segments: set[str], answers: Trial) -> None:
    """Record the pieces before they are published: pieces without a record are doubted, so a kill in between is
    safe."""
    record = FilterRecord(
        kind=kind,
        segments=tuple(sorted(segments)),
        filters=answers.filters,
        rows=work.dataset.count_rows(),
        data=_data_digest(work.dataset),
        lance=lance.__version__,
        built_at=datetime.now(UTC).isoformat(timespec="seconds"),
    )
    update_table_metadata(work.dataset.uri, {FILTER_PREFIX + column: record.model_dump_json()}, work.storage)


def _data_digest(dataset: "lance.LanceDataset") -> str:
    """Digest of which rows there are and in which files; rows deleted since do not change it."""
    files = [
        " ".join([f"{each.fragment_id} {each.metadata.physical_rows}", *(file.path for file in each.data_files())])
        for each in dataset.get_fragments()
    ]
    return xxhash.xxh3_128_hexdigest("\n".join(sorted(files)).encode())


def _refuse(
    work: IndexWork, column: str, kind: str, trial: FilterTrial, difference: Difference, former: Sequence[Former]
) -> str:
    """What the user is told. Of the indexes in force, one that answers otherwise as well is removed, if it is ours."""
    dataset = work.dataset
    ours = segments_of(dataset, filters_of_ours(dataset, column)) + [
        each.segment for each in former if not each.passed_over
    ]
    hidden = [each.segment for each in former if each.passed_over]
    said = (
        f"no {kind} on {column} is published: {difference.filter} gives {difference.by_index} by it and "
        f"{difference.by_scan} by a scan (Lance {lance.__version__})"
    )
    with trial_version(dataset, [], ours, work.storage) as without:
        others = sorted({index.name for index in filter_indexes(without, column)})
        if others and trial.of(without).difference is not None:
            return (
                f"{said}; so does {', '.join(others)}, which another tool made: `drop_index` of LanceDB takes it away"
            )
    in_force = trial.of(dataset).difference is not None if ours else False
    if in_force or hidden:
        publish(dataset, [], [*(ours if in_force else []), *hidden], work.storage)
    kept = "the one in force answered so too, and was taken away" if in_force else "what was in force still is"
    return f"{said}; {kept if ours else 'a scan answers it'}. {advice(dataset.schema.field(column), kind)}"
