"""What a run on a manifest may have changed, and what must stand where after it."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from state_machine.expected_codes import derived_columns, expected_code, numbers_of
from state_machine.read_back import Position, Row, TableState, difference, position_of
from state_machine.source_states import KEPT, Source, Spec
from state_machine.world import Entry, World, check_others, entries_of, is_their, must

FAILURE_CLASSES = {"missing": "not_found", "broken": "unsupported_format", "no uri": "bad_uri", "zero": "bad_vector"}


@dataclass(frozen=True)
class Told:
    """What was asked of a run, and what it said."""

    source: Source
    limit: int | None
    skip_existing: bool
    retry: bool
    deleted: str | None
    """`restore` or `keep-out`."""
    report: Any | None


@dataclass(frozen=True)
class Seen:
    """The rows of one manifest, by position in the table."""

    entry: Entry
    specs: dict[Position, Spec]
    covered: set[Position]


def check_embedded(world: World, told: Told, *, disturbed: bool, reasons: Sequence[str]) -> None:
    """Raises `Fault` where the tables hold anything that the run did not have to put there, or lack what they must."""
    before_v, before_f = world.vectors, world.failures
    cut_between = disturbed and (told.report is None or told.report.status != "complete")
    vectors, failures = world.look()
    check_others(before_v, vectors, replaced="" if _may_drop_indexes(world, told) else "nothing")
    check_others(before_f, failures)
    if vectors is None or failures is None:
        must(cut_between and before_v is None, "there are no two tables")
        world.keep(None, None)
        return
    seen = _seen(world, told, vectors, failures)
    came_v = _came(before_v, vectors, allowed_to_go=set(), taken_down=world.taken_down | world.maybe_taken_down)
    done_f = (
        {position_of(row) for row in vectors.rows} | _positions(seen) if told.retry else _in_both(before_v, before_f)
    )
    came_f = _came(before_f, failures, allowed_to_go=done_f, taken_down=world.taken_down | world.maybe_taken_down)
    if seen is None:
        must(not came_v and not came_f, f"rows of no manifest came: {came_v} {came_f}")
    else:
        _check_new(world, told, seen, came_v, came_f, vectors)
    if seen is not None and told.deleted == "keep-out":
        # Of the whole manifest, and before anything is embedded.
        recorded = world.deleted & set(seen.specs)
        world.maybe_kept_out |= recorded
        world.maybe_taken_down |= {seen.specs[position].id for position in recorded}
    if told.report is not None and told.report.status == "complete":
        must(seen is not None, "complete, and no manifest is registered")
        assert seen is not None
        _check_complete(world, told, seen, vectors, failures, disturbed)
    if seen is not None and told.report is not None and told.report.status == "complete":
        world.noted |= (set(vectors.positions()) | set(failures.positions())) & _positions(seen)
        world.stay_out -= set(vectors.positions()) | set(failures.positions())
    must(
        cut_between or reasons or not set(_in_both(vectors, failures)) & _positions(seen),
        "positions in both tables after a run that was not cut off",
    )
    world.keep(vectors, failures)


def _may_drop_indexes(world: World, told: Told) -> bool:
    """Lance does so on a table with stable row ids, where the first rows come again; the report says so."""
    emptied = world.stable_row_ids and world.vectors is not None and not world.vectors.rows
    return emptied and (told.report is None or "dropped its indexes" in " ".join(told.report.notices))


def _seen(world: World, told: Told, vectors: TableState, failures: TableState) -> Seen | None:
    """The manifest as the table knows it now; None where the run did not come to register it."""
    source = told.source
    key = (source.uri, source.written_ns)
    entries = {entry.digest: entry for entry in entries_of(vectors, failures)}
    known = told.report.manifest_digest if told.report is not None else world.digests.get(key)
    if known is None:
        others = set(world.digests.values()) | {entry.digest for entry in world.entries()}
        fresh = [entry for entry in entries.values() if entry.source == source.uri and entry.digest not in others]
        must(len(fresh) < 2, f"one run, and {len(fresh)} new manifests")
        known = fresh[0].digest if fresh else None
    if known is not None:
        world.digests[key] = known
        world.embedded[known] = source
    if known not in entries:
        return None
    entry = entries[known]
    specs = {(entry.first_shard + shard, row): spec for (shard, row), spec in source.specs}
    covered = set(list(specs)[: told.limit])
    return Seen(entry, specs, covered)


def _positions(seen: Seen | None) -> set[Position]:
    return set() if seen is None else set(seen.specs)


def _in_both(vectors: TableState | None, failures: TableState | None) -> set[Position]:
    if vectors is None or failures is None:
        return set()
    return set(vectors.positions()) & set(failures.positions())


def _came(
    before: TableState | None, after: TableState, *, allowed_to_go: set[Position], taken_down: set[str]
) -> list[Row]:
    """New rows; every row that was there is there still, unless it stands at one of the positions or is taken down: a
    run finishes what a killed `pixlake delete` has recorded."""
    if before is None:
        return list(after.rows)
    # A derived column may have been filled meanwhile; it is checked by itself.
    columns = before.columns - set(derived_columns(before.schema))
    lost, came = difference(before.rows, after.rows, columns)
    stay = [row for row in lost if position_of(row) not in allowed_to_go and row["id"] not in taken_down]
    must(not stay, f"rows are gone: {stay}")
    return came


def _check_new(world: World, told: Told, seen: Seen, came_v: list[Row], came_f: list[Row], vectors: TableState) -> None:
    before_v = set(world.vectors.positions()) if world.vectors else set()
    before_f = set(world.failures.positions()) if world.failures else set()
    twice = [position for position, n in Counter(map(position_of, came_v)).items() if n > 1]
    must(not twice, f"positions came twice: {twice}")
    must(not came_v or not _holds_it_already(world, told, seen), f"embedded a second time: {told.source.uri} {came_v}")
    for row in (*came_v, *came_f):
        position = position_of(row)
        must(position in seen.covered, f"a row came that is none of the run's: {row}, of {sorted(seen.covered)}")
        must(position not in before_v, f"embedded again: {position} {row['id']}")
        must(told.retry or position not in before_f, f"tried again unasked: {position} {row['id']}")
        must(row["id"] not in world.taken_down, f"taken down, and embedded: {position} {row['id']}")
        back = position in world.kept_out or (position in world.stay_out and told.deleted != "restore")
        must(not back, f"deleted, and back unasked: {position} {row['id']}")
    for row in came_v:
        _check_vector_row(world, row, seen.specs[position_of(row)], vectors)
    for row in came_f:
        spec = seen.specs[position_of(row)]
        must(not world.sources.outcome(spec), f"{spec.id} failed: {row['error']}")
        must((row["id"], row["error_class"]) == (spec.id, FAILURE_CLASSES[spec.content]), f"{row} for {spec}")


def _holds_it_already(world: World, told: Told, seen: Seen) -> bool:
    """Whether the very rows are complete under another digest, and the run must have known it."""
    again = [
        other
        for other in world.entries()
        if other.digest != seen.entry.digest
        and other.status == "complete"
        and other.source == told.source.uri
        and world.embedded[other.digest].parts == told.source.parts
    ]
    if told.skip_existing or not again:
        return False
    if told.source.kind == "images" and all(other.limit is None for other in again):
        return True
    # Of ready vectors, and where a limit left rows out, it goes by ids: where most are in the table, the run stops. It
    # is asked once: a run that was let in goes on.
    let_in = seen.entry.digest in {entry.digest for entry in world.entries()}
    ids = {spec.id for position, spec in seen.specs.items() if position in seen.covered}
    held = ids & {row["id"] for row in world.vectors.rows} if world.vectors else set()
    return not let_in and 2 * len(held) > len(ids)


def _check_vector_row(world: World, row: Row, spec: Spec, vectors: TableState) -> None:
    must(world.sources.outcome(spec), f"{spec.id} has a vector, and can have none: {spec}")
    must(row["id"] == spec.id and row["uri"] == spec.uri, f"{row['id']} {row['uri']} for {spec}")
    for kept, value in zip(KEPT, spec.kept, strict=True):
        must(row[kept.name] == value, f"{kept.name} of {spec.id}: {row[kept.name]!r}, and the manifest has {value!r}")
    kind = vectors.schema.field("vector").type
    stored = numbers_of(row["vector"], kind)
    must(
        stored is not None and np.allclose(stored, spec.vector.astype(np.float32), atol=2e-3),
        f"vector of {spec.id}: {stored}, expected {spec.vector}",
    )
    for name, how in derived_columns(vectors.schema).items():
        wanted = expected_code(stored, how, world.folder)
        must(row[name] is not None or wanted is None, f"{name} of {spec.id} is null after a run that fills it")


def _check_complete(
    world: World, told: Told, seen: Seen, vectors: TableState, failures: TableState, disturbed: bool
) -> None:
    """Every row that the run was to cover is in exactly one of both tables, unless somebody took it away on purpose."""
    entry = seen.entry
    in_v = {position: n for position, n in vectors.positions().items() if entry.holds(position)}
    in_f = {position: n for position, n in failures.positions().items() if entry.holds(position)}
    must(max([*in_v.values(), *in_f.values(), 0]) < 2, f"complete, and positions stand twice: {in_v} {in_f}")
    left_out = world.left_out.setdefault(entry.digest, set())
    if told.skip_existing:
        others = {row["id"] for row in vectors.rows if not entry.holds(position_of(row))}
        left_out |= {at for at, spec in enumerate(seen.specs.values()) if spec.id in others}
    ours_in_v = {position_of(row) for row in vectors.rows if not is_their(row)}
    ids = {row["id"] for state in (vectors, failures) for row in state.rows}
    of_failures = {position_of(row): row["id"] for row in failures.rows}
    for at, (position, spec) in enumerate(seen.specs.items()):
        if position not in seen.covered:
            continue
        ours = position in ours_in_v
        failed = of_failures.get(position) == spec.id
        must(not (ours and failed), f"{spec.id} at {position} is in both tables")
        if ours or failed or at in left_out or position in world.kept_out | world.maybe_kept_out:
            continue
        if spec.id in world.taken_down | world.maybe_taken_down:
            continue
        out = position in world.deleted and told.deleted != "restore"
        must(out, f"{spec.id} at {position} is in neither table")
        if told.deleted == "keep-out":
            world.kept_out.add(position)
            if spec.id not in ids:
                world.taken_down.add(spec.id)
    report = told.report
    assert report is not None
    if told.limit is None and not disturbed:
        said = report.vectors + report.failures + report.skipped + report.deleted
        must(said == len(seen.specs), f"the report accounts for {said} rows of {len(seen.specs)}: {report}")
    must(
        disturbed or (report.vectors, report.failures) == (len(in_v), len(in_f)),
        f"the report has {report.vectors} vectors and {report.failures} failures, the tables {len(in_v)}, {len(in_f)}",
    )
