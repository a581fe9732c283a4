"""How many of something, in words."""


def counted(count: int, one: str, many: str | None = None) -> str:
    """`1 row`, `1,234 rows`; `many` where it is not `one` with an s."""
    return f"{count:,} {one if count == 1 else many or f'{one}s'}"
