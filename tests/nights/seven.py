"""Seven nights by script: what is done to a bucket before each, and what `pixlake nightly` must then say and leave."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lance
import yaml

from end_to_end.command import Ended
from made.cut_photographs import SMALL
from made.s3_source import lance_options
from nights.audit import audit_morning, look
from nights.bucket import CORRUPT, PhotoBucket
from servers.failing_s3 import FailingS3

Run = Callable[..., Ended]
"""Runs `pixlake` with the arguments."""


@dataclass(frozen=True)
class World:
    """One bucket with photographs and the table that follows it."""

    bucket: PhotoBucket
    proxy: FailingS3
    """Between the images and whoever reads them; the table lies in the bucket without it."""
    config: str
    """The night's file."""
    settings: str
    """A file with the settings of the model, the machine and the storage alone."""
    table: str
    options: dict[str, str]
    run: Run
    exact: bool
    """Whether the model gives the same vector whatever else is in the batch."""
    killed: bool = False
    """Whether commands are killed and started again: then the last one tells only what was left to it."""

    def night(self, date: str, *more: str) -> Ended:
        self.proxy.asked.clear()
        return self.run("nightly", self.config, "--night", date, "--json", *more)

    def audit(self, *model: str, column: str = "vector") -> None:
        """Hold the table against the bucket, and against one that is made of it now; `model` are options of its
        model, where that is not the night's."""
        anew = f"s3://{self.bucket.name}/anew/photos"
        refused, self.proxy.refused = self.proxy.refused, {}
        # In one process: a Ray takes 20 s to start, and gives the same.
        here = ("--set", "cluster.executor=local", "--overwrite")
        given = (self.bucket.uri("photos/"), anew, "--config", self.settings, *model, *here)
        ended = self.run("embed", *given)
        self.proxy.refused = refused
        assert ended.code == 0, ended.err
        audit_morning(self.bucket, self.table, anew, self.options, exact=self.exact, column=column)

    def look(self) -> None:
        look(self.table, self.options)

    @property
    def versions(self) -> tuple[int, int]:
        open_at = (f"{self.table}.lance", f"{self.table}__failures.lance")
        vectors, failures = (lance.dataset(uri, storage_options=self.options).version for uri in open_at)
        return vectors, failures


@contextmanager
def a_world(
    s3: Any,
    folder: Path,
    run: Run,
    settings: dict[str, Any],
    *,
    exact: bool,
    killed: bool = False,
    size: tuple[int, int] = SMALL,
) -> Iterator[World]:
    """A new bucket with nothing in it; `settings` are the night's, beside its places."""
    name = s3.bucket("nights")
    proxy = FailingS3(s3.endpoint_url)
    table = f"s3://{name}/lake/photos"
    shared = {
        "storage": {**s3.storage_options, "endpoint_url": proxy.url},
        "table_storage": s3.storage_options,
        "fetch": {"max_attempts": 1, "retry_s": 1},
        **settings,
    }
    unjudged = {"thresholds": {**NOT_JUDGED, "another_model": False}}
    night = {
        **shared,
        "drift": unjudged,
        "source": {"uri": f"s3://{name}/photos/"},
        "table": table,
        "retries": {"attempts": 1},
    }
    (folder / "settings.yaml").write_text(yaml.safe_dump(shared))
    (folder / "night.yaml").write_text(yaml.safe_dump(night))
    try:
        yield World(
            bucket=PhotoBucket(s3, name, size),
            proxy=proxy,
            config=str(folder / "night.yaml"),
            settings=str(folder / "settings.yaml"),
            table=table,
            options=lance_options(s3),
            run=run,
            exact=exact,
            killed=killed,
        )
    finally:
        proxy.close()


NOT_JUDGED = {
    **dict.fromkeys(("mean", "frechet", "auc", "clusters", "norms", "failures")),
    "another_model": False,
}
"""Thresholds of drift under which nothing exceeds: of so few photographs, so many change in a night."""
LOCAL_NULL = {
    "model": {"name": "null"},
    "cluster": {"executor": "local", "block_rows": 20},
    "decode": {"isolate": False},
}
"""Quick settings, beside the places, of a night's file."""


def seven_nights(
    world: World, photographs: int, say: Callable[[str], None] = lambda text: None, nights: int = 7
) -> None:
    """All of it, or the first nights. Raises `AssertionError` at the first morning on which something is not as it must
    be."""
    few = max(2, photographs // 50)
    for date, night in list(zip(DATES, NIGHTS, strict=True))[:nights]:
        night(world, date, few if night is not the_first else photographs)
        world.audit()
        say(f"{date}: {night.__doc__}")


def expect(world: World, ended: Ended, rows: dict[str, int]) -> None:
    """The night is complete, and did this about images; states that are not named are 0, if they mean any work."""
    assert ended.code == 0, ended.out + ended.err
    if world.killed:
        return
    idle = ("unchanged", "failed", "gone")
    done = {name: count for name, count in ended.json["rows"].items() if count and name not in idle}
    assert done == rows, ended.json


def the_first(world: World, date: str, count: int) -> None:
    """The table is made; of its images one is corrupt, and one is refused."""
    bucket = world.bucket
    keys = bucket.add(count)
    bucket.put("photos/corrupt.jpg", CORRUPT)
    refuse(world, keys[3], "unavailable")
    expect(world, world.night(date), {"new": count + 1, "failed_now": 2})


def of_all_kinds(world: World, date: str, few: int) -> None:
    """New, changed, deleted, moved and touched ones, a copy, and the one that was refused can be read again."""
    bucket = world.bucket
    keys = there(bucket)
    serve_again(world)
    bucket.add(few)
    changed, deleted, moved, touched, left = (keys[4 + few * n :][:few] for n in range(5))
    bucket.put("photos/copy.jpg", bucket.objects[left[0]])
    for act, chosen in (
        (bucket.change, changed),
        (bucket.delete, deleted),
        (bucket.move, moved),
        (bucket.touch, touched),
    ):
        for key in chosen:
            act(key)
    done = {"new": few + 1, "changed": few, "deleted": few, "moved": few, "touched": few, "retried": 1}
    expect(world, world.night(date), done)
    assert world.killed or not set(fetched(world)) & {
        *keys[keys.index(left[0]) :],
        *(key for key in bucket.objects if "moved" in key),
    }


def the_listing_fails(world: World, date: str, few: int) -> None:
    """The listing ends half way, and nothing is taken for deleted; then it does not."""
    world.bucket.add(few)
    world.bucket.delete(there(world.bucket)[0])
    before = world.versions
    world.proxy.half_listings = 403
    ended = world.night(date)
    world.proxy.half_listings = None
    assert ended.code == 1, ended.out
    assert world.versions == before
    assert fetched(world) == []
    expect(world, world.night(date), {"new": few, "deleted": 1})


def failing_ones(world: World, date: str, few: int) -> None:
    """Of the changed ones some cannot be read, and keep their vectors; one is corrupt now, and a corrupt one is
    mended."""
    bucket = world.bucket
    keys = there(bucket)
    for key in keys[: few + 2]:
        bucket.change(key)
    refuse(world, keys[0], "forbidden")
    refuse(world, keys[1], "unavailable")
    bucket.put(keys[few + 2], CORRUPT)
    bucket.put("photos/corrupt.jpg", bucket.photograph())
    ended = world.night(date)
    expect(world, ended, {"changed": few + 3, "retried": 1, "failed_now": 3})
    assert ended.json["current_as_of"] < ended.json["started_at"], "two changes are not in the table"


def too_many_gone(world: World, date: str, few: int) -> None:
    """A fifth is gone, then everything: both are refused. When all is back, what could not be read is read."""
    bucket = world.bucket
    whole, before = dict(bucket.objects), world.versions
    for gone in (sorted(whole)[::5], sorted(whole)):
        for key in gone:
            if key in bucket.objects:
                bucket.delete(key)
        ended = world.night(date)
        assert ended.code == 1, ended.out
        assert world.versions == before
    for key, data in whole.items():
        bucket.put(key, data)
    serve_again(world)
    # What had been touched by a multipart upload has a plain etag again.
    expect(world, world.night(date), {"changed": 2, "stale": 2, "touched": few})


def nothing(world: World, date: str, few: int) -> None:
    """Nothing has changed: nothing is fetched, and nothing committed."""
    before = world.versions
    expect(world, world.night(date), {})
    assert (world.versions, fetched(world)) == (before, [])
    again = world.night(date).json
    assert again["nothing_to_do"], again


def they_return(world: World, date: str, few: int) -> None:
    """Of deleted ones some return as they were, one as another; two change places; and the last is corrupt no more."""
    bucket = world.bucket
    gone = sorted(bucket.held.marked)
    for key in gone[1:]:
        bucket.put(key, bucket.gone[key])
    bucket.put(gone[0], bucket.photograph())
    one, other = there(bucket)[5:7]
    first, second = bucket.objects[one], bucket.objects[other]
    bucket.put(one, second)
    bucket.put(other, first)
    for key in [key for key, data in bucket.objects.items() if data == CORRUPT]:
        bucket.change(key)
    ended = world.night(date)
    assert ended.code == 0, ended.out + ended.err
    assert world.killed or len(fetched(world)) <= 4


NIGHTS = (the_first, of_all_kinds, the_listing_fails, failing_ones, too_many_gone, nothing, they_return)
DATES = tuple(f"2026-11-{day}" for day in range(20, 27))


def there(bucket: PhotoBucket) -> list[str]:
    """Keys of photographs that have vectors and are as they were, in their order."""
    return sorted(key for key in bucket.held.live.keys() & bucket.objects.keys() if key not in bucket.refused)


def refuse(world: World, key: str, error_class: str) -> None:
    """The object can be listed, and not read."""
    world.bucket.refused[key] = error_class
    world.proxy.refused[key] = {"forbidden": 403, "unavailable": 500}[error_class]


def serve_again(world: World) -> None:
    world.bucket.refused.clear()
    world.proxy.refused.clear()


def fetched(world: World) -> list[str]:
    """Keys of images that were read in the night."""
    beginning = f"{world.bucket.name}/"
    return [key.removeprefix(beginning) for key in world.proxy.fetched if "/photos/" in key]
