"""Damaged images through a real decode process: a vector's pixels or one failure of a known class, and neighbours that
get what they get alone. The long form is `make fuzz`."""

import json
import random
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from made.damaged import KINDS, Case, Damage, damaged, random_case, whole_files
from operators.base.errors import ErrorClass
from operators.decoding.process import DecodeProcess
from operators.decoding.shared_rows import DONE, ERROR_CLASSES, FORMATS
from tests.operators.decoding.test_process import decoded, process

CLASSES = frozenset(
    {ErrorClass.CORRUPT, ErrorClass.TRUNCATED, ErrorClass.UNSUPPORTED_FORMAT, ErrorClass.TOO_MANY_PIXELS}
)
"""Of a damaged image. None of those that the fuzzing has made has killed, stalled or starved a decoder."""
TABLE = Path(__file__).with_name("damaged_classes.json")
"""Case -> what becomes of it: a format where it is read, else its class."""
FIXED = {
    "no bytes": Damage("cut", 0.0, 0),
    "a few bytes": Damage("cut", 0.02, 0),
    "half": Damage("cut", 0.5, 0),
    "nearly all": Damage("cut", 0.95, 0),
    "another's header": Damage("other header", 0.1, 4),
    "bits in the middle": Damage("flip", 0.5, 5),
    "a vast number early": Damage("in header", 0.27, 7),
    "a piece missing": Damage("drop", 0.3, 17),
    "a piece twice": Damage("repeat", 0.3, 90),
}
DAMAGES = st.builds(Damage, st.sampled_from(sorted(KINDS)), st.floats(0, 1, exclude_max=True), st.integers(0, 1 << 16))
CASES = st.builds(Case, st.sampled_from(sorted(whole_files())), st.lists(DAMAGES, min_size=1, max_size=3).map(tuple))


@pytest.fixture(scope="module")
def decoder() -> Iterator[DecodeProcess]:
    started = process()
    yield started
    started.close()


def outcomes(records: np.ndarray) -> list[str]:
    return [FORMATS[each["format"]] if each["state"] == DONE else str(ERROR_CLASSES[each["error"]]) for each in records]


def bytes_of(case: Case) -> memoryview:
    return memoryview(damaged(whole_files()[case.file], case.damages))


def test_each_damage_keeps_its_class(decoder: DecodeProcess) -> None:
    cases = {f"{file}: {what}": Case(file, (damage,)) for file in whole_files() for what, damage in FIXED.items()}
    records, _ = decoded(decoder, [bytes_of(case) for case in cases.values()])
    assert dict(zip(cases, outcomes(records), strict=True)) == json.loads(TABLE.read_text())


@settings(max_examples=40, suppress_health_check=[HealthCheck.too_slow])
@given(cases=st.lists(CASES, min_size=1, max_size=12))
def test_any_damage_gives_pixels_or_a_known_class(decoder: DecodeProcess, cases: list[Case]) -> None:
    pid = decoder.pid
    records, _ = decoded(decoder, [bytes_of(case) for case in cases])
    assert set(outcomes(records)) <= {*CLASSES, *FORMATS}
    assert all(each["message"] for each in records if each["state"] != DONE)
    assert pid in (None, decoder.pid)


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_good_images_among_damaged_ones_get_the_pixels_that_they_get_alone(decoder: DecodeProcess, seed: int) -> None:
    chance, files = random.Random(seed), sorted(whole_files())
    good = [chance.choice(files) for _ in range(150)]
    damage = [bytes_of(random_case(chance, files)) for _ in good]
    mixed = [
        image for pair in zip((memoryview(whole_files()[file]) for file in good), damage, strict=True) for image in pair
    ]
    records, pixels = decoded(decoder, mixed)
    assert {str(each) for each in outcomes(records[::2])} <= set(FORMATS)
    assert set(outcomes(records[1::2])) <= {*CLASSES, *FORMATS}
    assert len(set(outcomes(records[1::2])) & CLASSES) >= 3
    _, alone = decoded(decoder, [memoryview(whole_files()[file]) for file in files])
    np.testing.assert_array_equal(pixels[0][::2], alone[0][[files.index(file) for file in good]])
    # And once more: the same classes.
    again, _ = decoded(decoder, damage)
    assert outcomes(again) == outcomes(records[1::2])
