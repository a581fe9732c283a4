"""Which row of the table belongs to which row of the source: by id, and of an id that is there several times so that
what is the same comes together."""

from collections import defaultdict, deque
from collections.abc import Callable, Hashable
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from operators.base.columns import URI
from pipelines.refresh.changes.changes import VERSION
from pipelines.refresh.changes.source_rows import KEY
from pipelines.refresh.changes.table_rows import MARKED
from pipelines.refresh.changes.versions import stored_uris
from pipelines.table.positions import table_keys

_Signature = tuple[str | None, str | None]
"""(URI as the table has it, version) of a row."""


@dataclass(frozen=True, kw_only=True)
class Pairs:
    """Row numbers (int64) of the three sides; each row of a side is in exactly one of the arrays about it."""

    source: np.ndarray
    vectors: np.ndarray
    """(N,) each, together: rows that belong to each other."""
    tried: np.ndarray
    failures: np.ndarray
    """(M,) each, together: rows of the source that have only a failure."""
    new: np.ndarray
    """Rows of the source that have none."""
    lost_vectors: np.ndarray
    lost_failures: np.ndarray
    """Rows whose id the source has no longer."""
    current: np.ndarray
    """Vectors of an id that is there more often than in the source, that say what the source says."""
    repeated: np.ndarray
    """The same, of another version or place."""
    gone: np.ndarray
    """The same, marked as deleted."""
    stale: np.ndarray
    """Failures of an id whose rows in the source all have another row."""
    twice_in_source: int
    twice_in_table: int
    """Ids that the source, or the vector table, has more than once."""


def pair(source: pa.Table, vectors: pa.Table, failures: pa.Table) -> Pairs:
    """Pair the rows of three tables whose texts `KEY` are the same. Every image has one row in `vectors`."""
    codes = _codes([source, vectors, failures])
    known = max((int(each.max(initial=-1)) for each in codes), default=-1) + 1
    counts = np.stack([np.bincount(each, minlength=known) for each in codes])
    plain: np.ndarray = np.all(counts <= 1, axis=0)
    at = [_places(each, known) for each in codes]
    in_source, in_vectors, in_failures = counts > 0
    both, alone = plain & in_source & in_vectors, plain & ~in_source
    tried = plain & in_source & ~in_vectors & in_failures
    found: dict[str, list[np.ndarray]] = {
        "source": [at[0][both]],
        "vectors": [at[1][both]],
        "tried": [at[0][tried]],
        "failures": [at[2][tried]],
        "new": [at[0][plain & in_source & ~in_vectors & ~in_failures]],
        "lost_vectors": [at[1][alone & in_vectors]],
        "lost_failures": [at[2][alone & in_failures]],
        "current": [],
        "repeated": [],
        "gone": [],
        "stale": [at[2][both & in_failures]],
    }
    if not plain.all():
        for name, rows in _pair_repeated([source, vectors, failures], codes, ~plain).items():
            found[name].append(np.array(rows, np.int64))
    return Pairs(
        **{name: np.concatenate([np.zeros(0, np.int64), *parts]) for name, parts in found.items()},
        twice_in_source=int((counts[0] > 1).sum()),
        twice_in_table=int((counts[1] > 1).sum()),
    )


def _codes(sides: list[pa.Table]) -> list[np.ndarray]:
    """(N,) int64 for each side: a number for each text, the same on all."""
    texts = pa.chunked_array([chunk for side in sides for chunk in side[KEY.name].chunks], KEY.type)
    codes = texts.combine_chunks().dictionary_encode().indices.to_numpy().astype(np.int64)
    return np.split(codes, np.cumsum([side.num_rows for side in sides])[:-1])


def _places(codes: np.ndarray, known: int) -> np.ndarray:
    """(known,) the row of each code; -1 for one without."""
    places = np.full(known, -1, np.int64)
    places[codes] = np.arange(len(codes))
    return places


def _pair_repeated(sides: list[pa.Table], codes: list[np.ndarray], repeated: np.ndarray) -> dict[str, list[int]]:
    rows = [np.flatnonzero(repeated[each]) for each in codes]
    source, vectors, failures = (side.take(pa.array(at)) for side, at in zip(sides, rows, strict=True))
    uris = stored_uris(source[URI.name].combine_chunks()).to_pylist()
    signatures = list(zip(uris, source[VERSION.name].to_pylist(), strict=True))
    stored = list(zip(vectors[URI.name].to_pylist(), vectors[VERSION.name].to_pylist(), strict=True))
    marked = vectors[MARKED.name].is_valid().to_pylist()
    groups: defaultdict[int, _Repeated] = defaultdict(_Repeated)
    for at, signature in zip(rows[0].tolist(), signatures, strict=True):
        groups[int(codes[0][at])].source.append((at, signature))
    # Marked ones last, and of failures the latest first.
    order = np.lexsort((table_keys(vectors.combine_chunks()), np.array(marked, bool))).tolist()
    for number in order:
        at = int(rows[1][number])
        groups[int(codes[1][at])].vectors.append((at, stored[number], marked[number]))
    for number in np.argsort(-table_keys(failures.combine_chunks()), kind="stable").tolist():
        at = int(rows[2][number])
        groups[int(codes[2][at])].failures.append(at)
    found: dict[str, list[int]] = defaultdict(list)
    for group in groups.values():
        group.settle(found)
    return found


class _Repeated:
    """The rows of one id of which a side has several."""

    def __init__(self) -> None:
        self.source: list[tuple[int, _Signature]] = []
        self.vectors: list[tuple[int, _Signature, bool]] = []
        self.failures: list[int] = []

    def settle(self, found: dict[str, list[int]]) -> None:
        """Add each row to where it belongs."""
        if not self.source:
            found["lost_vectors"] += [at for at, _, _ in self.vectors]
            found["lost_failures"] += self.failures
            return
        said = {signature for _, signature in self.source if signature[1] is not None}
        # First what is the same, then what lies in the same place, then in turn.
        for key in (_whole, _place, _anything):
            self._take(found, key)
        for at, signature, marked in self.vectors:
            found["gone" if marked else "current" if signature in said else "repeated"].append(at)
        tried = min(len(self.source), len(self.failures))
        found["tried"] += [at for at, _ in self.source[:tried]]
        found["failures"] += self.failures[:tried]
        found["new"] += [at for at, _ in self.source[tried:]]
        found["stale"] += self.failures[tried:]

    def _take(self, found: dict[str, list[int]], key: Callable[[_Signature], Hashable | None]) -> None:
        """Pair rows of one key, in their order."""
        waiting: defaultdict[Hashable, deque[int]] = defaultdict(deque)
        for at, signature, _ in self.vectors:
            waiting[key(signature)].append(at)
        left: list[tuple[int, _Signature]] = []
        taken: set[int] = set()
        for at, signature in self.source:
            wanted = key(signature)
            if wanted is None or not waiting[wanted]:
                left.append((at, signature))
                continue
            taken.add(waiting[wanted][0])
            found["source"].append(at)
            found["vectors"].append(waiting[wanted].popleft())
        self.source = left
        self.vectors = [each for each in self.vectors if each[0] not in taken]


def _whole(signature: _Signature) -> Hashable | None:
    return None if None in signature else signature


def _place(signature: _Signature) -> Hashable | None:
    return signature[0]


def _anything(signature: _Signature) -> Hashable | None:
    return True
