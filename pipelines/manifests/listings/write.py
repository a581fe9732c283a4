"""A listing written as Parquet parts. A start that was cut off costs what it had not written, and what has changed.

Objects of a bucket are listed on behind the last image of the last whole part, for an hour after it was written: the
result is that of one listing through a store that was slow for as long. Anything else (a folder on this machine, images
with columns from files beside them, a listing that lay longer) is listed anew, and the parts of which every file is
still there with its size and version are kept. The digest is always that of all images, as of one listing.
"""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from operator import lt

import pyarrow as pa

from operators.storage.stores import StorageOptions
from pipelines.manifests.files import Place
from pipelines.manifests.listings.begun import BegunListing, Note, find_begun, listing_key
from pipelines.manifests.listings.digest import ListingDigest, PartSeen, digested
from pipelines.manifests.listings.table import listing_table
from pipelines.manifests.manifest import OnRows, SourceConfig
from pipelines.manifests.normalized import Normalized, new_folder, record
from pipelines.manifests.parts import write_parts
from pipelines.manifests.tars.listed import ListedImage, ListingNotes

_BATCH_ROWS = 8_192
_NOTED_S = 1.0


@dataclass(frozen=True, kw_only=True)
class ListedSource:
    """What is listed, and what of it goes into the parts."""

    place: Place
    config: SourceConfig
    storage: StorageOptions
    images: Callable[[], Iterable[ListedImage]]
    """All of them, listed anew by each call."""
    images_after: Callable[[str], Iterable[ListedImage]] | None
    """Those behind a URI; None where they are not asked for from there."""


class _OutOfOrderError(Exception):
    """A store lists in another order than that of its keys: where a listing goes on is not known."""


def write_listing(source: ListedSource, work_uri: str, progress: OnRows | None) -> Normalized:
    """The listing as parts. Raises what the store does."""
    begun = find_begun(work_uri, listing_key(source.place, source.config), source.storage)
    try:
        return _Writer(source, work_uri, progress).write(begun)
    except _OutOfOrderError:
        return _Writer(source, work_uri, progress).write(None)


class _Writer:
    """One start: its folder, and what it has listed so far."""

    def __init__(self, source: ListedSource, work_uri: str, progress: OnRows | None) -> None:
        self._source, self._config, self._progress = source, source.config, progress
        key = listing_key(source.place, source.config)
        self._listing = BegunListing(folder=new_folder(work_uri), key=key, storage=source.storage)
        self._digest = ListingDigest(source.config)
        self._notes = ListingNotes()
        self._seen = PartSeen()
        self._last: str | None = None
        self._is_sorted = source.images_after is not None
        self._noted_at = -_NOTED_S
        self._num_parts = 0

    def write(self, begun: tuple[BegunListing, Note] | None) -> Normalized:
        images = self._go_on(*begun) if begun else iter(self._source.images())
        per_part, first = self._config.rows_per_shard, self._num_parts
        before = first * per_part
        limit = None if self._config.limit is None else self._config.limit - before
        num_rows, _ = write_parts(
            self._tables(islice(images, limit)),
            self._listing.folder,
            per_part,
            self._source.storage,
            first=first,
            max_parts=None,
            progress=self._progress,
            on_whole=self._on_whole,
        )
        done = Normalized(
            folder=self._listing.folder,
            digest=self._digest.hexdigest(),
            num_rows=before + num_rows,
            rows_per_shard=per_part,
            complete=True,
            notices=self._notes.lines(),
        )
        record(done, self._source.storage)
        self._listing.forget(self._num_parts)
        return done

    def _tables(self, images: Iterator[ListedImage]) -> Iterator[pa.Table]:
        """Batches that end where a part does, so that at its end no image of the next one has been listed."""
        per_part, of_part = self._config.rows_per_shard, 0
        while batch := list(islice(images, min(_BATCH_ROWS, per_part - of_part))):
            of_part = (of_part + len(batch)) % per_part
            self._see(batch)
            yield listing_table(batch, self._config, self._source.storage, self._notes)

    def _see(self, images: Sequence[ListedImage]) -> None:
        data = b"".join(map(digested, images))
        self._digest.update(data)
        self._seen.update(data)
        if self._is_sorted:
            uris = [*([] if self._last is None else [self._last]), *(image.file.uri for image in images)]
            self._is_sorted = all(map(lt, uris, uris[1:]))
        self._last = images[-1].file.uri

    def _on_whole(self, part: int) -> None:
        self._listing.keep_seen(part, self._seen.packed())
        self._seen, self._num_parts = PartSeen(), part + 1
        if time.monotonic() - self._noted_at > _NOTED_S:
            self._noted_at = time.monotonic()
            self._listing.note(self._num_parts, self._last if self._is_sorted else None, self._notes.unread)

    def _go_on(self, earlier: BegunListing, note: Note) -> Iterator[ListedImage]:
        """The images that are in no part of the earlier start that is kept; those parts are taken over."""
        images_after, parts = self._source.images_after, note.parts
        if images_after is not None and note.after is not None and note.is_fresh():
            images = _in_order(note.after, images_after(note.after))
            # Asked for before anything is copied: a store may not know how to begin behind a key.
            images = chain(list(islice(images, 1)), images)
            for data in earlier.seen(parts):
                self._digest.update(data)
            self._last = note.after
        else:
            images, parts = self._unchanged(earlier, parts)
        self._listing.take_over(earlier, parts)
        self._num_parts = parts
        if parts:
            self._notes.unread = note.unread
        return images

    def _unchanged(self, earlier: BegunListing, parts: int) -> tuple[Iterator[ListedImage], int]:
        """(the images behind the parts that are as they are listed now, how many parts these are)."""
        while True:
            images, same = iter(self._source.images()), 0
            self._digest, self._last = ListingDigest(self._config), None
            for data in earlier.seen(parts):
                listed = b"".join(map(digested, islice(images, self._config.rows_per_shard)))
                if listed != data:
                    break
                self._digest.update(data)
                same += 1
            if same == parts:
                return images, parts
            parts = same


def _in_order(after: str, images: Iterable[ListedImage]) -> Iterator[ListedImage]:
    for image in images:
        if image.file.uri <= after:
            raise _OutOfOrderError
        after = image.file.uri
        yield image
