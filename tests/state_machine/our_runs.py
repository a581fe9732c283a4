"""`pixlake embed` in all its forms: each says what it has done, and the tables must hold that and nothing else."""

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from unittest import mock

import jobs.embedding.resolve_columns
from jobs.embed import load, run
from operators.models.resolve import Resolved, WantedModel, resolve_models
from state_machine.cut_off import HOWS, Cut, commits_cut
from state_machine.embedded_rows import Told, check_embedded
from state_machine.meanwhile import foretold_meanwhile
from state_machine.operations import always, has_table, operation
from state_machine.source_states import Source
from state_machine.world import World, must, ours, unchanged

_resolved: dict[str, list[Resolved]] = {}


@contextmanager
def _resolving_once(wanted: list[WantedModel]) -> Iterator[Callable[[], list[Resolved]]]:
    """The child process that names a model takes 0.8 s and says the same each time: it is asked once."""
    key = repr(wanted)
    if key not in _resolved:
        _resolved[key] = resolve_models(wanted)
    yield lambda: _resolved[key]


def config_of(world: World, source: Source, **more: Any) -> Any:
    base: dict[str, Any] = {
        "source": {**source.settings(), "limit": more.pop("limit", None)},
        "table": world.table,
        "cluster": {
            "executor": "local",
            "block_rows": 4,
            "batch_size": 4,
            "rows_per_fragment": 5,
            # A wave a receipt: a run has many places to be cut off at.
            "commit_interval_s": 1e-6,
            "retries": 0,
        },
        **more,
    }
    if source.kind == "images":
        base |= {
            "model": {"name": "null", "pooling": "avg"},
            "decode": {"isolate": False},
            "fetch": {"allowed_roots": [str(world.folder)]},
        }
    return load(base=base)


@dataclass
class Asked:
    """One embed command."""

    name: str
    limit: int | None = None
    skip_existing: bool = False
    retry: bool = False
    abandon: str | None = None
    again: bool = True
    """That most ids are in the table through other manifests is no reason to stop."""
    deleted: str | None = None


def embed(world: World, asked: Asked, cut: Cut | None = None) -> None:
    cut = cut or Cut()
    source = world.sources.there[asked.name]
    more = {"limit": asked.limit, "skip_existing": asked.skip_existing, "abandon": asked.abandon}
    more["again"] = asked.again
    more["deleted"] = asked.deleted
    config = config_of(world, source, retry_failed="all" if asked.retry else None, **more)
    reasons = world.reasons() + _reasons_of(world, source, asked)
    report = refusal = None
    with (
        mock.patch.object(jobs.embedding.resolve_columns, "resolving_models", _resolving_once),
        commits_cut(cut, stable_row_ids=world.stable_row_ids),
    ):
        report, refusal = ours(world, lambda: run(config))
    if refusal is not None:
        must(reasons or cut.disturbed, f"refused without a reason: {refusal}")
        world.did["embed refused"] += 1
        if not cut.disturbed:
            # Nothing is written before a run is let in, but for an abandoned manifest and an empty pair.
            unchanged(world, f"refused ({refusal})")
            return
    status = report.status if report else "cut off"
    world.did[f"embed {status}"] += 1
    if status == "failed":
        must(reasons or cut.disturbed, f"failed: {report.message}")
    if status == "interrupted":
        must(cut.how == "ctrl-c" and cut.came, f"interrupted by nothing: {report.message}")
    told = Told(source, asked.limit, asked.skip_existing, asked.retry, asked.deleted, report)
    check_embedded(world, told, disturbed=cut.disturbed, reasons=reasons)


def _reasons_of(world: World, source: Source, asked: Asked) -> list[str]:
    """Why this very command may be refused."""
    known = world.digests.get((source.uri, source.written_ns))
    unfinished = [
        entry
        for entry in world.entries()
        if entry.source == source.uri and entry.status == "running" and entry.digest != known
    ]
    if asked.abandon:
        unfinished = [entry for entry in unfinished if entry.run_id != asked.abandon]
    reasons = ["an earlier state of the source is unfinished"] * bool(unfinished)
    if not asked.again and world.entries():
        reasons.append("other manifests may hold its ids")
    return reasons


def _some(world: World, random: random.Random) -> str:
    """A source that is there, or a new one."""
    names = list(world.sources.there)
    if not names or (len(names) < 5 and random.random() < 0.3):
        return world.sources.add(random)
    return random.choice(names)


def _limit(world: World, name: str, random: random.Random) -> int | None:
    rows = len(world.sources.there[name].specs)
    return random.choice([None, None, random.randint(1, rows + 2)])


def _drawn(world: World, random: random.Random, **more: Any) -> Asked:
    name = _some(world, random)
    return Asked(name, _limit(world, name, random), again=not _written_anew(world, name), **more)


def _written_anew(world: World, name: str) -> bool:
    """Ready vectors, of which the very same are there under another modification time: that is for the user to say.
    Of a manifest of images Pixlake knows by itself that it is the same."""
    source = world.sources.there[name]
    earlier = [world.embedded[entry.digest] for entry in world.entries() if entry.digest in world.embedded]
    return any(each.uri == source.uri and each.parts == source.parts for each in earlier if source.kind == "vectors")


@operation(always, weight=3)
def embed_source(world: World, random: random.Random) -> None:
    embed(world, _drawn(world, random))


@operation(has_table)
def embed_skip_existing(world: World, random: random.Random) -> None:
    embed(world, _drawn(world, random, skip_existing=True))


@operation(has_table, weight=2)
def embed_retry_failed(world: World, random: random.Random) -> None:
    embed(world, _drawn(world, random, retry=True, skip_existing=random.random() < 0.2))


@operation(always, weight=3)
def embed_cut_off(world: World, random: random.Random) -> None:
    asked = _drawn(world, random, retry=world.vectors is not None and random.random() < 0.4)
    if asked.retry and random.random() < 0.7:
        # What moves from the failures to the vectors has two commits to be cut off between.
        world.sources.mend_files()
    embed(world, asked, Cut(random.choice(HOWS), random.randint(1, 14)))


@operation(has_table, weight=2)
def embed_while_others_write(world: World, random: random.Random) -> None:
    asked = _drawn(world, random, retry=random.random() < 0.3)
    name, meanwhile = foretold_meanwhile(world, random)
    cut = Cut("meanwhile", random.randint(1, 12), lambda: meanwhile.happens(world))
    embed(world, asked, cut)
    world.did[name] += cut.came


@operation(has_table, weight=2)
def embed_what_was_deleted(world: World, random: random.Random) -> None:
    embed(world, _drawn(world, random, deleted=random.choice(["restore", "restore", "keep-out"])))


@operation(has_table)
def embed_abandon(world: World, random: random.Random) -> None:
    running = [entry for entry in world.entries() if entry.status == "running"]
    names = {source.uri: name for name, source in world.sources.there.items()}
    running = [entry for entry in running if entry.source in names]
    if running:
        entry = random.choice(running)
        name = names[entry.source]
        embed(world, Asked(name, abandon=entry.run_id, again=not _written_anew(world, name)))


@operation(has_table)
def embed_overwrite(world: World, random: random.Random) -> None:
    name = _some(world, random)
    source = world.sources.there[name]
    if source.exported:
        # What it was exported from is about to go, and the space of the table is its own business then.
        return
    world.forget()
    with (
        mock.patch.object(jobs.embedding.resolve_columns, "resolving_models", _resolving_once),
        commits_cut(Cut(), stable_row_ids=world.stable_row_ids),
    ):
        report, refusal = ours(world, lambda: run(config_of(world, source, overwrite=2)))
    must(refusal is None and report.status == "complete", f"{refusal or report.message}")
    check_embedded(world, Told(source, None, False, False, None, report), disturbed=False, reasons=[])


@operation(lambda world: bool(world.sources.there))
def source_changes(world: World, random: random.Random) -> None:
    names = [name for name, source in world.sources.there.items() if not source.exported]
    if names:
        world.sources.change(random.choice(names), random)


@operation(lambda world: any(world.sources.earlier.values()))
def source_is_put_back(world: World, random: random.Random) -> None:
    world.sources.put_back(random.choice([name for name, states in world.sources.earlier.items() if states]))


@operation(lambda world: bool(world.sources.there))
def source_is_written_anew(world: World, random: random.Random) -> None:
    names = [name for name, source in world.sources.there.items() if not source.exported]
    if names:
        world.sources.write_anew(random.choice(names))


@operation(has_table)
def images_are_mended(world: World, random: random.Random) -> None:
    world.sources.mend_files()
