"""Operators and words stay loaded for the next query: of as many kinds of queries as are wanted, and no more."""

from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
import pytest

from operators.base.operator import Operator, OperatorConfig
from operators.models.spec import ModelDescription
from operators.storage.stores import NO_OPTIONS, StorageOptions
from pipelines.search.kept_operators import KeptOperators, KeptTexts

ALIVE: list[int] = []


class NumberConfig(OperatorConfig):
    name: ClassVar[str] = "number"
    number: int

    def build(self) -> "Number":
        return Number(self)


class Number(Operator[NumberConfig]):
    def __init__(self, config: NumberConfig) -> None:
        super().__init__(config)
        ALIVE.append(config.number)

    def transform(self, batch: pa.Table) -> pa.Table:
        return batch

    def close(self) -> None:
        ALIVE.remove(self.config.number)


def use(kept: KeptOperators, *numbers: int) -> list[Operator[Any]]:
    with kept.of([NumberConfig(number=number) for number in numbers]) as operators:
        return operators


def test_what_the_last_chain_shares_stays_and_the_rest_goes() -> None:
    kept = KeptOperators()
    first = use(kept, 1, 2)
    assert use(kept, 1, 2) == first
    assert use(kept, 2, 3)[0] is first[1]
    assert ALIVE == [2, 3]
    kept.close()
    assert ALIVE == []


def test_a_server_keeps_several_chains_and_lets_go_of_the_one_used_longest_ago() -> None:
    kept = KeptOperators()
    kept.chains = 2
    one = use(kept, 1)
    use(kept, 2)
    assert use(kept, 1) == one
    use(kept, 3)
    assert sorted(ALIVE) == [1, 3]
    with pytest.raises(RuntimeError, match="broke"), kept.of([NumberConfig(number=1)]):
        raise RuntimeError("broke")
    assert ALIVE == []


def test_words_are_embedded_once() -> None:
    passes: list[list[str]] = []

    class Lengths:
        def embed(self, texts: list[str]) -> np.ndarray:
            passes.append(texts)
            return np.array([[len(text), 1] for text in texts], np.float32)

    def load(model: ModelDescription, storage: StorageOptions) -> Lengths:
        return Lengths()

    kept, model = KeptTexts(load), "any model"
    assert kept.embed(["a", "bb", "a"], model, NO_OPTIONS).tolist() == [[1, 1], [2, 1], [1, 1]]  # type: ignore[arg-type]
    assert kept.embed(["bb", "ccc"], model, NO_OPTIONS).tolist() == [[2, 1], [3, 1]]  # type: ignore[arg-type]
    assert passes == [["a", "bb"], ["ccc"]]
    kept.embed(["bb"], "another model", NO_OPTIONS)  # type: ignore[arg-type]
    assert passes[-1] == ["bb"]
