"""Conditions of strangers: what a server may try on its table without being brought down by it.

Lance computes a condition in the server's own process, with all functions of DataFusion: `repeat(uri, 1000000)` asks
for more memory than there is, which ends the process; `range(0, 1000000000)` takes a minute; and a chain of some
hundred operators overflows the stack of its threads.
"""

from pipelines.scan.sql import tokens, with_backticks

MOST_STEPS = 300
"""Words and operators; a chain of 400 `||` was answered, of 800 it ended the process (pylance 8.0.0)."""
_CALLABLE = """
abs acos array_contains array_has array_has_all array_has_any array_length array_position arrow_cast arrow_typeof ascii
asin atan atan2 bit_length btrim cardinality cast cbrt ceil char_length character_length coalesce contains
contains_tokens cos current_date current_time current_timestamp date_bin date_part date_trunc datepart datetrunc
degrees ends_with exp extract floor get_field greatest ifnull isnan iszero json_array_contains json_array_length
json_exists json_extract json_get json_get_bool json_get_float json_get_int json_get_string least left length
levenshtein list_contains list_has ln log log10 log2 lower ltrim md5 nanvl now nullif nvl octet_length position power
radians random regexp_count regexp_like regexp_match reverse right round rtrim sha256 signum sin split_part sqrt
starts_with strpos substr substring tan to_date to_timestamp to_timestamp_micros to_timestamp_millis
to_timestamp_seconds today trim trunc try_cast upper
"""
FUNCTIONS = frozenset(_CALLABLE.split())
"""Functions whose answer is no larger than what they are given."""
_BEFORE_PARENTHESES = """
all and any as between by case distinct div else end escape from ilike in is like not or rlike similar then to when xor
char character decimal float interval numeric time timestamp varchar
"""
_MAY_STAND_BEFORE = FUNCTIONS | frozenset(_BEFORE_PARENTHESES.split())


def check_bounded(condition: str) -> str:
    """The condition as it is. Raises `ValueError` for one of too many steps, or with a function that is not among
    `FUNCTIONS`, and what `with_backticks` raises."""
    steps, before = 0, ("other", "")
    for kind, text in tokens(with_backticks(condition)):
        if text.isspace():
            continue
        if (
            text == "("
            and before[0] in ("word", "column")
            and not (before[0] == "word" and before[1].lower() in _MAY_STAND_BEFORE)
        ):
            raise ValueError(
                f"{before[1]}(…): this function is not among those that a filter here may call: "
                f"{', '.join(sorted(FUNCTIONS))}"
            )
        steps += kind in ("word", "column", "cast") or (kind == "other" and text not in ",." and not text.isdigit())
        before = kind, text
    if steps > MOST_STEPS:
        raise ValueError(
            f"a condition of {steps:,} words and operators is longer than the {MOST_STEPS} that a filter here may "
            "have; `IN (…)` takes any number of values"
        )
    return condition
