"""What a user must mend, on its way from Ray's workers to the driver: as text, for the exception itself is lost.

What an actor raises while it is built arrives as an `ActorDiedError`, what it raises in a call as a
`UserCodeException`. Neither has the original as its cause: it is a part of the message, among tracebacks.
"""

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager

from operators.base.errors import UserError

_MARK = "what a user must mend: "
_CARRIED = re.compile(re.escape(_MARK) + r'("(?:[^"\\]|\\.)*")')


class CarriedError(RuntimeError):
    """A `UserError` as one line, which is found again in the text of any error around it."""


@contextmanager
def carrying() -> Iterator[None]:
    """Around what a worker does. Raises `CarriedError` for a `UserError`; others pass as they are."""
    try:
        yield
    except UserError as error:
        raise CarriedError(_MARK + json.dumps(str(error))) from error


def carried(error: BaseException) -> UserError | None:
    """The `UserError` that a worker raised, if `error` or one it came from tells of it."""
    links: list[BaseException] = [error]
    for link in links:
        found = _CARRIED.search(str(link))
        if found:
            return UserError(json.loads(found[1]))
        behind = (getattr(link, "cause", None), link.__cause__, link.__context__)
        links += [each for each in behind if isinstance(each, BaseException) and each not in links]
    return None
