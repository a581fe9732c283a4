"""Names and texts in Lance's SQL, and a user's condition in which double quotes always mean a column, as in LanceDB.

In pylance `"Label" = 'cat'` compares the text Label, in lancedb the column. Both read backticks as a column, so what we
write has backticks, and what a user writes gets them.
"""

import re
from collections.abc import Iterator

_TOKEN = re.compile(
    r"""
    (?P<text> '(?:[^']|'')*' )
    | (?P<column> `(?:[^`]|``)*` )
    | (?P<quoted> "(?:[^"]|"")*" )
    | (?P<comment> --[^\n]* | /\*.*?\*/ )
    | (?P<unclosed> ['"`] | /\* )
    | (?P<prefixed> (?:[bBeEnNrRqQ]|[uU]&|[rR][bB]|[bB][rR]) (?=['"]) )
    | (?P<word> [^\W\d]\w* )
    | (?P<cast> :: )
    | (?P<unknown> [;$?:] )
    | (?P<paren> [()] )
    | (?P<other> . )
    """,
    re.VERBOSE | re.DOTALL,
)


def sql_text(value: str) -> str:
    """A text as a string literal of Lance's SQL."""
    return "'" + value.replace("'", "''") + "'"


def sql_column(name: str) -> str:
    """A column name as SQL, whatever it holds: capitals, spaces, reserved words."""
    return "`" + name.replace("`", "``") + "`"


def tokens(condition: str) -> Iterator[tuple[str, str]]:
    """(kind, text) of each token, kinds as above; all of them together are the condition."""
    for token in _TOKEN.finditer(condition):
        yield token.lastgroup or "", token.group()


def with_backticks(condition: str) -> str:
    """The condition with each double-quoted word as a column in backticks, and a space for each comment.

    Each part of `"region"."kind"` is quoted for itself, as in SQL. Raises `ValueError` for what Lance would misread or
    fail on: a quote or parenthesis that does not pair, `;`, placeholders, `b'…'`.
    """
    written: list[str] = []
    depth = 0
    for token in _TOKEN.finditer(condition):
        kind, text = token.lastgroup, token.group()
        if kind == "unclosed":
            raise ValueError(f"the {text} at character {token.start() + 1} is never closed")
        if kind == "prefixed":
            raise ValueError(f"{text} before a quote means nothing there; write a text as 'text'")
        if kind == "unknown":
            raise ValueError(f"{text} is no part of a condition")
        if kind == "paren":
            depth += 1 if text == "(" else -1
            if depth < 0:
                raise ValueError(f"the ) at character {token.start() + 1} closes nothing")
        if kind == "quoted":
            text = sql_column(text[1:-1].replace('""', '"'))
        written.append(" " if kind == "comment" else text)
    if depth:
        raise ValueError("a ( is never closed")
    return "".join(written)


def double_quoted(condition: str) -> set[str]:
    """The words that stand in double quotes."""
    return {t.group()[1:-1].replace('""', '"') for t in _TOKEN.finditer(condition) if t.lastgroup == "quoted"}
