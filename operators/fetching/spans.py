"""Images of a packed file, such as a tar, read together: neighbours with one request, never one request an image."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from operators.base.errors import ErrorClass
from operators.fetching.attempt import Attempts, Fetched, FetchError
from operators.fetching.pace import HostPace

_MAX_GAP_BYTES = 1 << 20
"""Bytes between two wanted images that are read for nothing: at 100 MB/s they cost 10 ms, another request 100."""


@dataclass(slots=True)
class ByteSpan:
    """A run of bytes of one version of a packed file, with the images in it."""

    uri: str
    version: str
    """`file_version` of the file in which the offsets hold."""
    start: int
    stop: int
    images: list[tuple[int, int, int]]
    """(index of the row, first byte within the file, number of bytes)."""
    tally: Attempts = field(default_factory=Attempts)
    result: Fetched | FetchError | None = None
    aside: str | None = None
    """Why it was left undone; None where it was not."""
    pace: HostPace | None = None

    def read(self) -> Iterator[tuple[int, Fetched]]:
        """(index of the row, its bytes) of every image. Raises the span's `FetchError`."""
        if isinstance(self.result, FetchError):
            raise self.result
        assert self.result is not None
        view = memoryview(self.result.data)
        for index, offset, size in self.images:
            first = offset - self.start
            yield index, Fetched(bytes(view[first : first + size]), self.result.etag)


def plan_spans(places: Iterable[tuple[int, dict[str, Any]]], max_bytes: int) -> list[ByteSpan]:
    """The fewest spans of at most `max_bytes` that hold every (row, `packed_in`); no image is larger than that."""
    spans: list[ByteSpan] = []
    for index, place in sorted(places, key=lambda each: (each[1]["uri"], each[1]["version"], each[1]["offset"])):
        uri, version, offset, size = (place[name] for name in ("uri", "version", "offset", "size"))
        last = spans[-1] if spans else None
        if (
            last is not None
            and (last.uri, last.version) == (uri, version)
            and offset - last.stop <= _MAX_GAP_BYTES
            and offset + size - last.start <= max_bytes
        ):
            last.stop = max(last.stop, offset + size)
            last.images.append((index, offset, size))
        else:
            spans.append(ByteSpan(uri, version, offset, offset + size, [(index, offset, size)]))
    return spans


def replaced() -> FetchError:
    """The packed file is not the one in which the images' offsets hold."""
    return FetchError(
        ErrorClass.SOURCE_CHANGED,
        "the file that the image is packed in was replaced since the run began; put the old file back, or run again",
    )
