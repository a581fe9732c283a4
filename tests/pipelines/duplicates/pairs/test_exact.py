"""Rows with the same sha256."""

import hashlib

import numpy as np
import pyarrow as pa

from pipelines.duplicates.pairs.exact import digest_keys, first_of_each


def test_the_first_row_of_the_same_bytes_stands_for_all_and_what_is_no_sha256_for_itself() -> None:
    a, b = (hashlib.sha256(text).hexdigest() for text in (b"a", b"b"))
    late = a[:40] + "0" * 24
    texts = [None, a, b, a.upper(), "", None, "", b, "z" * 64, "z" * 64, "é" * 32, late]
    keys, there = digest_keys(pa.chunked_array([texts[:3], texts[3:]]))
    assert there.tolist() == [text is not None and len(text) == 64 and text[0] != "z" for text in texts]
    # 128 bits are compared.
    assert first_of_each(keys, there).tolist() == [0, 1, 2, 1, 4, 5, 6, 2, 8, 9, 10, 1]
    sliced = digest_keys(pa.array(texts).slice(2, 2))
    assert np.array_equal(sliced[0], keys[2:4])
