"""The operators of the last queries, kept for the next: a model is loaded once, not once a query."""

import pickle
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from operators.base.operator import Operator, OperatorConfig
from operators.models.load import TextEmbedder, load_text_embedder
from operators.models.spec import ModelDescription
from operators.storage.stores import StorageOptions


class KeptOperators:
    """Built operators by their configs. Those of the last `chains` chains are kept: of one, unless a process that
    answers many kinds of queries sets another number."""

    def __init__(self) -> None:
        self.chains = 1
        self._operators: dict[bytes, Operator[Any]] = {}
        self._lasting: list[list[bytes]] = []
        """Keys of the chains that are kept, the latest last."""
        self._lock = threading.Lock()

    @contextmanager
    def of(self, chain: Sequence[OperatorConfig]) -> Iterator[list[Operator[Any]]]:
        """The operators of the chain, for one query at a time; what no kept chain needs is closed first."""
        # A pickle, and not JSON: a dump of the storage options masks their secrets, and two may differ in these alone.
        keys = [pickle.dumps(config) for config in chain]
        with self._lock:
            others = [each for each in self._lasting if each != keys]
            self._lasting = [*others, keys][-self.chains :]
            self._close_all_but({key for each in self._lasting for key in each})
            try:
                for key, config in zip(keys, chain, strict=True):
                    if key not in self._operators:
                        self._operators[key] = config.build()
                yield [self._operators[key] for key in keys]
            except BaseException:
                # Whatever broke under them, such as a process that died, is not there for the next query either.
                self._lasting = []
                self._close_all_but(set())
                raise

    def close(self) -> None:
        """Close all that is kept."""
        with self._lock:
            self._lasting = []
            self._close_all_but(set())

    def _close_all_but(self, keys: set[bytes]) -> None:
        for gone in self._operators.keys() - keys:
            self._operators.pop(gone).close()


class KeptTexts:
    """The text tower of the last query by words."""

    def __init__(self) -> None:
        self._kept: tuple[bytes, TextEmbedder] | None = None
        self._lock = threading.Lock()

    @contextmanager
    def of(self, model: ModelDescription, storage: StorageOptions) -> Iterator[TextEmbedder]:
        """The model's text tower, for one query at a time. Raises `ModelError` where it has none."""
        key = pickle.dumps((model, storage))
        with self._lock:
            if self._kept is None or self._kept[0] != key:
                self._kept = None
                self._kept = key, load_text_embedder(model, storage)
            yield self._kept[1]


KEPT = KeptOperators()
"""Those of this process."""
KEPT_TEXTS = KeptTexts()
