"""From a page's data to one HTML file that opens offline: styles and pictures lie in it, and nothing in it runs."""

import base64
import hashlib
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from markupsafe import Markup

from jobs.reports.page.blocks import WebPage
from operators.base.errors import printable

if TYPE_CHECKING:
    from jinja2 import Template

_FOLDER = Path(__file__).parent


def render_page(page: WebPage) -> str:
    """The page as HTML. Its content-security policy lets it load pictures that lie in it, and nothing else; its style
    is allowed by its digest, so that no other one applies."""
    style = (_FOLDER / "style.css").read_text("utf-8")
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    policy = f"default-src 'none'; img-src data:; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    # The file is ours: what comes from outside is in `page` alone, which is escaped.
    return _template().render(page=page, style=Markup(style), policy=policy)


@cache
def _template() -> "Template":
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(_FOLDER),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.finalize = lambda value: _shown(value) if type(value) is str else value
    return environment.get_template("page.html.j2")


def _shown(text: str) -> str:
    """Without what turns the order of letters round, or is no letter; line breaks stay."""
    return text if text.isprintable() else "\n".join(map(printable, text.split("\n")))
