"""The operators of the last queries, kept for the next: a model is loaded once, not once a query."""

import pickle
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from operators.base.operator import Operator, OperatorConfig
from operators.models.load import TextEmbedder, load_text_embedder
from operators.models.spec import ModelDescription
from operators.storage.stores import StorageOptions

_TEXTS_A_PASS = 64
"""Texts in one forward pass."""
_KEPT_TEXTS = 1024


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
    """The text tower of the last query by words, and the vectors of the last words: the same ones are asked again with
    another filter, or in another column."""

    def __init__(self, load: Callable[[ModelDescription, StorageOptions], TextEmbedder] = load_text_embedder) -> None:
        self._load = load
        self._kept: tuple[bytes, TextEmbedder] | None = None
        self._vectors: dict[str, np.ndarray] = {}
        self._lock = threading.Lock()

    def embed(self, texts: Sequence[str], model: ModelDescription, storage: StorageOptions) -> np.ndarray:
        """(N, dim) float32 as the model gives them. Raises `ModelError` where it has no text tower."""
        key = pickle.dumps((model, storage))
        with self._lock:
            if self._kept is None or self._kept[0] != key:
                self._kept, self._vectors = None, {}
                self._kept = key, self._load(model, storage)
            found = {text: self._vectors[text] for text in texts if text in self._vectors}
            new = [text for text in dict.fromkeys(texts) if text not in found]
            for start in range(0, len(new), _TEXTS_A_PASS):
                part = new[start : start + _TEXTS_A_PASS]
                found |= zip(part, self._kept[1].embed(part), strict=True)
            latest = [*self._vectors.items(), *((text, found[text]) for text in new)]
            self._vectors = dict(latest[-_KEPT_TEXTS:])
        return np.stack([found[text] for text in texts])


KEPT = KeptOperators()
"""Those of this process."""
KEPT_TEXTS = KeptTexts()
