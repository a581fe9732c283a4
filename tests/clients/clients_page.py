"""docs/clients.md as data: which clients it has, what each needs, the lines it shows, and the outcome it states."""

import re
from dataclasses import dataclass
from pathlib import Path

PAGE = Path(__file__).parents[2] / "docs" / "clients.md"
OUTCOME = "## Outcome"
_SECTION = re.compile(r"^### (.+)\n+`(pip|npm) install (.+)`$", re.MULTILINE)
_BLOCK = re.compile(r"^```(python|sh|js)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_PIN = re.compile(r"(?<=.)(?:==|@)([0-9][^\s\"]*)")
_OUTCOME_LINE = re.compile(r"^(.+?) {2,}(\S+) +(ok|failed)\b")


@dataclass(frozen=True, kw_only=True)
class Client:
    """A section of the page."""

    name: str
    installer: str
    """`pip` or `npm`."""
    requirements: tuple[str, ...]
    """Pinned; the client itself is the first."""
    blocks: tuple[tuple[str, str], ...]
    """(language, code), in order; the last one leaves `ids`, `rows` or both."""

    @property
    def version(self) -> str:
        [pin] = _PIN.findall(self.requirements[0])
        return str(pin)


def clients(page: str) -> list[Client]:
    """In the page's order."""
    starts = list(_SECTION.finditer(page))
    ends = [*(start.start() for start in starts[1:]), page.index(OUTCOME)]
    return [
        Client(
            name=start[1],
            installer=start[2],
            requirements=tuple(part.strip('"') for part in start[3].split()),
            blocks=tuple(_BLOCK.findall(page[start.end() : end])),
        )
        for start, end in zip(starts, ends, strict=True)
    ]


def stated_outcome(page: str) -> list[tuple[str, str]]:
    """(name, version) of each line of the outcome."""
    lines = page[page.index(OUTCOME) :].splitlines()
    return [(found[1], found[2]) for line in lines if (found := _OUTCOME_LINE.match(line))]
