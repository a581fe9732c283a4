"""What a page is made of: plain data, text as it is. Whatever comes from a table or a file is escaped when the page is
rendered, so that a hostile name is shown and does nothing.

    page = WebPage(title="A report", lead="What it says in a sentence.", sections=(
        PageSection(heading="Rates", blocks=(
            PageText("Images per second, by run."),
            PageTable(columns=("run", "images/s"), numbers=(1,), rows=(("a", "12.3"), ("b", "40.1"))),
            plot(draw, alt="Images per second of each run"),          # jobs.reports.page.plots
        )),
    ))
    html = render_page(page)                                          # jobs.reports.page.render
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar


@dataclass(frozen=True)
class PageText:
    """Paragraphs, one a line."""

    kind: ClassVar[str] = "text"
    text: str


@dataclass(frozen=True)
class PageFacts:
    """Names and what is said of each."""

    kind: ClassVar[str] = "facts"
    facts: Sequence[tuple[str, str]]


@dataclass(frozen=True)
class PageCell:
    """A cell that is more than its text."""

    text: str
    strong: bool = False
    """Whether it is to be seen first: the best of its column, or what is wrong."""
    note: str = ""
    """Small print under the text, such as an interval."""


@dataclass(frozen=True, kw_only=True)
class PageTable:
    """Rows of cells; a table that is wider than the window scrolls by itself."""

    kind: ClassVar[str] = "table"
    columns: Sequence[str]
    rows: Sequence[Sequence[str | PageCell]]
    numbers: Sequence[int] = ()
    """Columns, from 0, that are set to the right."""
    marked: Sequence[int] = ()
    """Rows, from 0, that stand out."""
    caption: str = ""


@dataclass(frozen=True, kw_only=True)
class PagePlot:
    """A drawing in two colourings, of which the reader's light or dark setting shows one."""

    kind: ClassVar[str] = "plot"
    light: str
    """`data:` URI."""
    dark: str
    alt: str
    """What it shows, for who does not see it."""
    caption: str = ""


@dataclass(frozen=True, kw_only=True)
class PageImage:
    """A picture with the words under it."""

    source: str
    """`data:` URI, as of `jobs.reports.page.pictures`; empty where there is no picture, and only words are shown."""
    alt: str
    caption: str = ""


@dataclass(frozen=True, kw_only=True)
class PageImages:
    """Pictures side by side."""

    kind: ClassVar[str] = "images"
    images: Sequence[PageImage]
    caption: str = ""


@dataclass(frozen=True, kw_only=True)
class PageCode:
    """Text in which each space counts: a command, JSON. With `summary` it is closed until these words are chosen."""

    kind: ClassVar[str] = "code"
    text: str
    summary: str = ""


PageBlock = PageText | PageFacts | PageTable | PagePlot | PageImages | PageCode


@dataclass(frozen=True, kw_only=True)
class PageSection:
    """A part of a page under its heading."""

    heading: str
    blocks: Sequence[PageBlock]


@dataclass(frozen=True, kw_only=True)
class WebPage:
    """A page that needs nothing else: no script, no file beside it, no request."""

    title: str
    lead: str = ""
    """What it says, before all else."""
    sections: Sequence[PageSection]
    footer: str = ""
    """How and when it was made."""
