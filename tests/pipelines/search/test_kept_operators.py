"""Operators of one query serve the next; what it does without is closed; what broke is built anew."""

import pytest

from operators.decode import DecodeConfig
from operators.models.null import PREPROCESS
from operators.normalize import NormalizeConfig
from operators.storage.stores import StorageOptions
from pipelines.search.kept_operators import KeptOperators


def decode(max_pixels: int = 1000) -> DecodeConfig:
    return DecodeConfig(targets={"pixels": PREPROCESS}, isolate=False, max_pixels=max_pixels)


def test_the_next_query_has_the_operators_of_the_last() -> None:
    kept = KeptOperators()
    with kept.of([decode(), NormalizeConfig()]) as first:
        pass
    with kept.of([decode(), NormalizeConfig()]) as second:
        assert [id(each) for each in second] == [id(each) for each in first]
    with kept.of([decode(999), NormalizeConfig()]) as third:
        assert third[0] is not first[0]
        assert third[1] is first[1]
    with kept.of([decode(), NormalizeConfig()]) as fourth:
        assert fourth[0] is not first[0], "it was closed when the third query did without it"


def test_settings_that_differ_in_a_secret_alone_are_not_one() -> None:
    from operators.fetch import FetchConfig

    kept = KeptOperators()
    configs = [FetchConfig(storage=StorageOptions(key="k", secret=secret)) for secret in ("one", "other")]
    with kept.of([configs[0]]) as [first]:
        pass
    with kept.of([configs[1]]) as [second]:
        assert second is not first


def test_after_an_error_all_are_built_anew() -> None:
    kept = KeptOperators()
    with kept.of([decode()]) as [first]:
        pass
    with pytest.raises(RuntimeError), kept.of([decode()]):
        raise RuntimeError("a process died")
    with kept.of([decode()]) as [second]:
        assert second is not first
