"""Images with the same bytes, by the sha256 that the table holds of each; regions, by that and their box."""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import xxhash

from pipelines.space.samples import mixed

HEX = 32
"""Digits of the sha256 that are compared, 128 bits: among 10^8 images two share them with a chance of 1.5 in 10^23."""
_CORNERS = ("x0", "y0", "x1", "y1")
_VALUE = np.full(256, 255, np.uint8)
for _digit in range(16):
    _VALUE[ord(f"{_digit:x}")] = _VALUE[ord(f"{_digit:X}")] = _digit


def digest_keys(column: pa.Array | pa.ChunkedArray) -> tuple[np.ndarray, np.ndarray]:
    """((N, 2) uint64 keys, (N,) bool: which rows have one) of a text column of sha256 in hex; others have none."""
    column = column if isinstance(column, pa.ChunkedArray) else pa.chunked_array([column])
    texts = pa.concat_arrays(column.chunks) if column.num_chunks else pa.array([], column.type)
    texts = texts.cast(pa.large_string())
    lengths = texts.is_valid().to_numpy(zero_copy_only=False)
    sizes = pc.binary_length(texts).fill_null(0).to_numpy(zero_copy_only=False)
    there = lengths & (sizes == 64)
    keys = np.zeros((len(texts), 2), np.uint64)
    if not there.any():
        return keys, there
    whole = texts.filter(pa.array(there))
    _, offsets, data = whole.buffers()
    start = np.frombuffer(offsets, np.int64)[whole.offset]
    digits = np.frombuffer(data, np.uint8)[start : start + 64 * len(whole)].reshape(-1, 64)[:, :HEX]
    values = _VALUE[digits]
    bad = (values == 255).any(axis=1)
    packed = np.ascontiguousarray((values[:, ::2] << 4) | (values[:, 1::2] & 15))
    keys[there] = packed.view(">u8").astype(np.uint64)
    there[np.flatnonzero(there)[bad]] = False
    return keys, there


def with_boxes(keys: np.ndarray, regions: pa.StructArray) -> np.ndarray:
    """(N, 2) uint64: keys of regions from those of their images; another box is another key."""
    box = pc.struct_field(regions, "box")
    corners = [pc.fill_null(pc.struct_field(box, name), -1.0).to_numpy(zero_copy_only=False) for name in _CORNERS]
    bits = np.stack([np.ascontiguousarray(each, np.float32).view(np.uint32).astype(np.uint64) for each in corners], 1)
    joined: np.ndarray = keys ^ mixed((bits[:, ::2] << np.uint64(32)) | bits[:, 1::2])
    return joined


def image_keys(ids: pa.Array) -> np.ndarray:
    """(N,) uint64, never 0: the same for the same id. Two images share one with a chance of 1 in 3,000 among 10^8; then
    their regions are not compared."""
    coded = ids.dictionary_encode()
    hashes = [xxhash.xxh3_64_intdigest((text or "").encode()) or 1 for text in coded.dictionary.to_pylist()]
    keys: np.ndarray = np.array([*hashes, 1], np.uint64)[pc.fill_null(coded.indices, len(hashes)).to_numpy()]
    return keys


def first_of_each(keys: np.ndarray, there: np.ndarray) -> np.ndarray:
    """(N,) uint32: for each row the first row with the same key; itself where it has none.

    Memory: 20 bytes a row beside the keys.
    """
    first = np.arange(len(keys), dtype=np.uint32)
    own = np.flatnonzero(there).astype(np.uint32)
    # Stable, so that the first of equal keys is the first row.
    order = own[np.lexsort((keys[own, 1], keys[own, 0]))]
    if len(order):
        ordered = keys[order]
        begins = np.concatenate([[True], (ordered[1:] != ordered[:-1]).any(axis=1)])
        first[order] = order[np.maximum.accumulate(np.where(begins, np.arange(len(order)), 0))]
    return first
