"""Texts that come from JSON, which can spell what UTF-8 cannot hold."""

from collections.abc import Sequence

import pyarrow as pa


def encodes(text: str | None) -> bool:
    """Whether the text can be UTF-8: false for a lone surrogate, which JSON can spell."""
    try:
        (text or "").encode()
    except UnicodeEncodeError:
        return False
    return True


def text_array(values: Sequence[str | None]) -> pa.Array:
    """An array of strings; a lone surrogate becomes `?`."""
    try:
        return pa.array(values, pa.string())
    except UnicodeEncodeError:
        cleaned = [None if value is None else value.encode("utf-8", "replace").decode() for value in values]
        return pa.array(cleaned, pa.string())
