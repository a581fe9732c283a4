"""Which of a table's vector columns is meant."""

import pytest

from operators.base.errors import UserError
from pipelines.space.choose import choose_base


def test_the_only_column_of_a_model_is_meant_or_the_one_asked_for() -> None:
    assert choose_base(None, ["vector"], where="table t", option="--base") == "vector"
    assert choose_base("vector_b", ["vector_a", "vector_b"], where="table t", option="--base") == "vector_b"


@pytest.mark.parametrize(
    ("asked", "bases", "says"),
    [
        (None, ["vector_a", "vector_b"], r"has several columns of models, name one with --base: vector_a, vector_b"),
        ("vector_4", ["vector"], r"--base vector_4 is derived itself; columns of models: vector"),
        ("label", ["vector"], r"--base label is no vector column; columns of models: vector"),
        (None, [], r"holds derived columns alone \(vector_4\); the column of a model is needed"),
        ("vector", [], r"holds derived columns alone \(vector_4\); the column of a model is needed"),
    ],
)
def test_what_cannot_be_meant_is_refused_with_those_there(asked: str | None, bases: list[str], says: str) -> None:
    with pytest.raises(UserError, match=f"^table t: {says}$"):
        choose_base(asked, bases, where="table t", option="--base", derived=["vector_4"])


def test_the_other_column_of_a_swap_is_meant_only_where_it_is_named() -> None:
    for other in ("vector_next", "vector_before"):
        assert choose_base(None, ["vector", other], where="table t", option="--base") == "vector"
        assert choose_base(other, ["vector", other], where="table t", option="--base") == other
    with pytest.raises(UserError, match="several"):
        choose_base(None, ["vector_a", "vector_b", "vector_a_next"], where="table t", option="--base")
