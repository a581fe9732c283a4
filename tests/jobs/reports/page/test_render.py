"""A page is one file that asks for nothing and runs nothing, whatever the names on it are."""

import base64
import hashlib
import re
from html.parser import HTMLParser
from typing import Any

import numpy as np
import pytest

from jobs.reports.page.blocks import (
    PageCell,
    PageCode,
    PageFacts,
    PageImage,
    PageImages,
    PageSection,
    PageTable,
    PageText,
    WebPage,
)
from jobs.reports.page.pictures import thumbnail
from jobs.reports.page.plots import plot, plot_png
from jobs.reports.page.render import render_page

HOSTILE = "<script>alert('x')</script>\"><img src=x onerror=alert(1)>\u202egpj.exe $a$ $\\frac"
BLACK = thumbnail(np.zeros((40, 500, 3), np.uint8))


def _draw(figure: Any) -> None:
    axes = figure.subplots()
    axes.plot([1, 2], [3, 4], label=HOSTILE)
    axes.legend()


@pytest.fixture(scope="module")
def page() -> str:
    blocks = (
        PageText(f"{HOSTILE}\nsecond line"),
        PageFacts(((HOSTILE, HOSTILE),)),
        PageTable(
            columns=(HOSTILE, "n"), rows=((HOSTILE, PageCell(HOSTILE, True, HOSTILE)),), numbers=(1,), caption=HOSTILE
        ),
        plot(_draw, alt=HOSTILE, caption=HOSTILE),
        PageImages(images=(PageImage(source=BLACK, alt=HOSTILE, caption=HOSTILE),)),
        PageCode(text='{\n  "a": 1\n}', summary=HOSTILE),
    )
    section = PageSection(heading=HOSTILE, blocks=blocks)
    return render_page(WebPage(title=HOSTILE, lead=HOSTILE, sections=(section,) * 3, footer=HOSTILE))


class _Elements(HTMLParser):
    def __init__(self, page: str) -> None:
        super().__init__()
        self.seen: list[tuple[str, dict[str, str | None]]] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))


def test_hostile_text_is_shown_and_is_no_element(page: str) -> None:
    elements = _Elements(page).seen
    assert {"table", "picture", "figure", "dl", "pre"} <= {tag for tag, _ in elements}
    assert not [tag for tag, _ in elements if tag in ("script", "iframe", "object", "link", "form")]
    assert not [name for _, attributes in elements for name in attributes if name.startswith("on") or name == "style"]
    assert "&lt;script&gt;" in page
    assert "\u202e" not in page


def test_the_page_holds_all_that_it_shows(page: str) -> None:
    for _, attributes in _Elements(page).seen:
        for name in ("src", "srcset", "href"):
            assert (attributes.get(name) or "data:").startswith(("data:", "#"))
    [policy] = [a["content"] for t, a in _Elements(page).seen if t == "meta" and a.get("http-equiv")]
    style = re.findall(r"<style>(.*?)</style>", page, re.DOTALL)[0]
    assert f"'sha256-{base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()}'" in (policy or "")
    assert (policy or "").startswith("default-src 'none'; img-src data:;")


def test_the_text_of_code_keeps_its_lines(page: str) -> None:
    assert "{\n  &#34;a&#34;: 1\n}" in page


def test_a_plot_is_the_same_bytes_each_time_and_has_two_colourings() -> None:
    first, again = plot(_draw, alt="a"), plot(_draw, alt="a")
    assert first == again
    assert first.light != first.dark
    assert plot_png(_draw)[:8] == b"\x89PNG\r\n\x1a\n"
