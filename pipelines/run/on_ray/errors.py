"""Errors that a user must mend, on their way from Ray's workers to the driver: as text, since the exception itself is
lost.

An error that an actor raises while it is built arrives as an `ActorDiedError`, one that it raises in a call as a
`UserCodeException`. Neither has the original as its cause: the original is part of the message, among tracebacks.
"""

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager

from operators.base.errors import UserError

_MARK = "what a user must mend: "
_CARRIED = re.compile(re.escape(_MARK) + r'("(?:[^"\\]|\\.)*")')


class CarriedError(RuntimeError):
    """A `UserError` as one line that can be found again in the text of any error around it."""


@contextmanager
def carrying() -> Iterator[None]:
    """Wraps a worker's work. Turns a `UserError` into a `CarriedError`; other errors pass as they are."""
    try:
        yield
    except UserError as error:
        raise CarriedError(_MARK + json.dumps(str(error))) from error


def carried(error: BaseException) -> UserError | None:
    """The `UserError` that a worker raised, where the text of `error` or of one of its causes carries it."""
    links: list[BaseException] = [error]
    for link in links:
        found = _CARRIED.search(str(link))
        if found:
            return UserError(json.loads(found[1]))
        behind = (getattr(link, "cause", None), link.__cause__, link.__context__)
        links += [each for each in behind if isinstance(each, BaseException) and each not in links]
    return None
