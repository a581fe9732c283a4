"""The promise, checked on the tables with lance, pyarrow and NumPy alone: nothing is shared with the writer."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import lance
import numpy as np
import pyarrow as pa
import xxhash

from made.solid_images import png_of, size_of, vectors_of

NEIGHBOURS_DIFFER = 2.8e-4
"""By how much the vectors of two images differ at least, in some component; float16 rounds by 3.1e-5 at most."""


@dataclass(frozen=True)
class Expected:
    """What must come of one manifest row: the vector of image `number`, or a failure of class `failure`."""

    uri: str | None
    number: int | None = None
    failure: str | None = None
    id: str | None = None
    """Default: xxh3-128 of the URI."""


def read(table: str, options: dict[str, str] | None = None) -> tuple[pa.Table, pa.Table]:
    """Vectors and failures, whole."""
    vectors = lance.dataset(f"{table}.lance", storage_options=options).to_table()
    return vectors, lance.dataset(f"{table}__failures.lance", storage_options=options).to_table()


def audit(
    table: str,
    expected: Sequence[Expected],
    *,
    options: dict[str, str] | None = None,
    gaps: bool = False,
    columns: Sequence[str] = ("vector",),
) -> None:
    """Both tables together hold the expected rows and no others, each once, in the place that the manifest gave it.

    `expected` is in the manifest's order, manifests in the order in which they were embedded. `gaps`: rows may have
    been left out, so the row numbers of a shard need not follow one another. `columns`: all of the null model.
    """
    vectors, failures = read(table, options)
    rows = {position: row for held in (vectors, failures) for position, row in _by_position(held).items()}
    assert len(rows) == vectors.num_rows + failures.num_rows, "a position stands in both tables"
    in_order = [rows[position] for position in sorted(rows)]
    assert [row["uri"] for row in in_order] == [each.uri for each in expected]
    if not gaps:
        _check_without_gaps(sorted(rows))
    for row, each in zip(in_order, expected, strict=True):
        _check_row(row, each)
    for column in columns:
        _check_vectors(vectors, column, expected)


def committed_uris(table: str, options: dict[str, str] | None = None) -> set[str]:
    """URIs in either table; each stands in one of them once. Empty where there is no table yet."""
    try:
        vectors, failures = read(table, options)
    except ValueError:
        return set()
    uris = vectors["uri"].to_pylist() + failures["uri"].to_pylist()
    assert len(uris) == len(set(uris))
    return set(uris)


def num_versions(table: str) -> tuple[int, int]:
    return lance.dataset(f"{table}.lance").version, lance.dataset(f"{table}__failures.lance").version


def _by_position(held: pa.Table) -> dict[tuple[int, int], dict[str, Any]]:
    small = held.select([field.name for field in held.schema if not pa.types.is_fixed_size_list(field.type)])
    rows = {(row["shard"], row["row"]): row for row in small.to_pylist()}
    assert len(rows) == held.num_rows, "a position stands in one table twice"
    return rows


def _check_without_gaps(positions: list[tuple[int, int]]) -> None:
    for shard in {shard for shard, _ in positions}:
        rows = [row for there, row in positions if there == shard]
        assert rows == list(range(len(rows)))


def _check_row(row: dict[str, Any], expected: Expected) -> None:
    default = xxhash.xxh3_128_hexdigest(expected.uri.encode()) if expected.uri is not None else None
    assert row["id"] == (default if expected.id is None else expected.id)
    if expected.failure is not None:
        assert row["error_class"] == expected.failure, row
        assert row["error"]
        assert row["stage"]
        return
    assert expected.number is not None
    data = png_of(expected.number)
    assert row["sha256"] == hashlib.sha256(data).hexdigest()
    assert row["size_bytes"] == len(data)
    assert (row["width"], row["height"]) == size_of(expected.number)
    assert row["format"].lower() == "png"


def _check_vectors(vectors: pa.Table, column: str, expected: Sequence[Expected]) -> None:
    numbers = {each.uri: each.number for each in expected}
    held = vectors[column].combine_chunks()
    if not len(held):
        return
    there = held.flatten().to_numpy(zero_copy_only=False).astype(np.float64).reshape(len(held), -1)
    wanted = vectors_of([numbers[uri] for uri in vectors["uri"].to_pylist()])
    assert np.abs(there - wanted).max() < NEIGHBOURS_DIFFER / 2
