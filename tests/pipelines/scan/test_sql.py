"""What a user's double quotes become, and what is refused before Lance reads half of it."""

import pytest

from pipelines.scan.sql import sql_column, sql_text, with_backticks


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("\"Label\" = 'cat'", "`Label` = 'cat'"),
        ('"a""b" > 1', '`a"b` > 1'),
        ('"a`b" > 1', "`a``b` > 1"),
        ('"region"."kind" = \'a "b" c\'', "`region`.`kind` = 'a \"b\" c'"),
        ('region."a b" = 1', "region.`a b` = 1"),
        ("`a\"b` = 'it''s \"so\"'", "`a\"b` = 'it''s \"so\"'"),
        ('a = 1 -- "not this"\nAND "b" = 2', "a = 1  \nAND `b` = 2"),
        ('a = 1 /* "nor \' this */ AND "b" = 2', "a = 1   AND `b` = 2"),
        ("a = '--' AND b = '/*'", "a = '--' AND b = '/*'"),
        ("size::int > (1) AND d > date'2020-01-01'", "size::int > (1) AND d > date'2020-01-01'"),
    ],
)
def test_a_double_quoted_word_is_a_column_and_nothing_else_changes(written: str, meant: str) -> None:
    assert with_backticks(written) == meant


@pytest.mark.parametrize(
    ("written", "says"),
    [
        ("a = 'x", "the ' at character 5 is never closed"),
        ('a = "x', 'the " at character 5 is never closed'),
        ("`a = 1", "the ` at character 1 is never closed"),
        ("a = 1 /* b", r"the /\* at character 7 is never closed"),
        ("a = 1) OR (b = 2", r"the \) at character 6 closes nothing"),
        ("(a = 1", r"a \( is never closed"),
        ("a = 1; b = 2", "; is no part of a condition"),
        ("a = $1", r"\$ is no part of a condition"),
        ("a = :name", ": is no part of a condition"),
        ("a = r'x'", "r before a quote means nothing there"),
    ],
)
def test_what_lance_would_read_by_half_or_fall_over_is_refused(written: str, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        with_backticks(written)


def test_names_and_texts_are_quoted_whatever_they_hold() -> None:
    assert (sql_text("it's"), sql_column("a`b")) == ("'it''s'", "`a``b`")
