"""The operators of the last query, kept for the next: a model is loaded once, not once a query."""

import pickle
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from operators.base.operator import Operator, OperatorConfig


class KeptOperators:
    """Built operators by their configs. Those of one chain are kept, until another chain does without them."""

    def __init__(self) -> None:
        self._operators: dict[bytes, Operator[Any]] = {}
        self._lock = threading.Lock()

    @contextmanager
    def of(self, chain: Sequence[OperatorConfig]) -> Iterator[list[Operator[Any]]]:
        """The operators of the chain, for one query at a time; what only the query before needed is closed first."""
        # A pickle, and not JSON: a dump of the storage options masks their secrets, and two may differ in these alone.
        keys = [pickle.dumps(config) for config in chain]
        with self._lock:
            self._close_all_but(keys)
            try:
                for key, config in zip(keys, chain, strict=True):
                    if key not in self._operators:
                        self._operators[key] = config.build()
                yield [self._operators[key] for key in keys]
            except BaseException:
                # Whatever broke under them, such as a process that died, is not there for the next query either.
                self._close_all_but([])
                raise

    def _close_all_but(self, keys: Sequence[bytes]) -> None:
        for gone in self._operators.keys() - set(keys):
            self._operators.pop(gone).close()


KEPT = KeptOperators()
"""Those of this process."""
