"""What a server's filter may ask: what ended the process, or took a minute, is refused before Lance sees it."""

import pytest

from pipelines.scan.bounded import MOST_STEPS, check_bounded


@pytest.mark.parametrize(
    "condition",
    [
        "",
        "predicted = 'owl' AND (predicted_score > 0.9)",
        "lower(uri) LIKE '%repeat(%' AND NOT (width < 10)",
        "CAST(width AS decimal(10, 2)) > 1 AND region.label IN ('a', 'b')",
        "CASE WHEN (width > 1) THEN (true) ELSE (false) END",
        "id IN (" + ", ".join(["'abc'"] * 2000) + ") AND row IN (" + ",".join(["17"] * 2000) + ")",
        " OR ".join(f"cluster = {number}" for number in range(90)),
    ],
)
def test_what_filters_say_passes(condition: str) -> None:
    assert check_bounded(condition) == condition


@pytest.mark.parametrize(
    ("condition", "says"),
    [
        ("length(repeat(uri, 1000000)) > 0", r"repeat\(…\): this function is not among those"),
        ("`repeat`('x', 1) = 'a'", "this function is not among"),
        ("\"repeat\"('x', 1) = 'a'", "this function is not among"),
        ("REPEAT /* a */ ('x', 1) = 'a'", "this function is not among"),
        ("array_length(range(0, 1000000000)) > 0", r"range\(…\)"),
        ("uri" + "||uri" * 800 + " = 'a'", f"longer than the {MOST_STEPS}"),
        ("cluster" + "+1" * 4500 + " = 1", f"longer than the {MOST_STEPS}"),
        ("uri" + " ISNULL" * 800, f"longer than the {MOST_STEPS}"),
        ("cluster" + "::int" * 800 + " = 1", f"longer than the {MOST_STEPS}"),
        ("uri = 'a", "never closed"),
    ],
)
def test_what_brings_a_server_down_is_refused(condition: str, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        check_bounded(condition)
