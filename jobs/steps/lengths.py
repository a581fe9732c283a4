"""Lengths that vectors can be cut to, as a setting."""

from typing import Any


def as_lengths(given: Any) -> Any:
    """Lengths from `256,128` or a list, the longest first; None as it is. Raises `ValueError`."""
    if given is None:
        return None
    try:
        lengths = [int(each) for each in (given.split(",") if isinstance(given, str) else given)]
    except (TypeError, ValueError):
        raise ValueError("lengths with commas between them, like 256,128,64") from None
    if not lengths or min(lengths) < 1:
        raise ValueError("lengths from 1 on, with commas between them, like 256,128,64")
    return tuple(sorted(set(lengths), reverse=True))
