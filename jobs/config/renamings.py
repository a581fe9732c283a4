"""`--rename OLD=NEW` as values of `source.rename`."""

from collections.abc import Sequence

from operators.base.errors import UserError


def renamings(given: Sequence[str]) -> dict[str, str]:
    """Kept column -> its name in the table. The old name may hold `=`. Raises `UserError`."""
    named: dict[str, str] = {}
    for each in given:
        old, equals, new = each.rpartition("=")
        if not equals:
            raise UserError(f"--rename {each}: write OLD=NEW, a kept column and what it is called in the table")
        if named.get(old, new) != new:
            raise UserError(f"--rename {each}: {old} is renamed to {named[old]} already")
        named[old] = new
    return named
