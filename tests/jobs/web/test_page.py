"""The page in a real browser: searches by words, by a file, by a drawn box and by keys alone, at two widths."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from made.served_table import HOSTILE
from servers.page import Client

playwright = pytest.importorskip("playwright.sync_api")
CHROMIUM = Path("/usr/bin/chromium")
pytestmark = pytest.mark.skipif(not CHROMIUM.exists(), reason=f"needs {CHROMIUM}: Debian's package chromium")

WIDTHS = (390, 1440)
narrow = pytest.mark.parametrize("visit", WIDTHS[:1], indirect=True)
wide = pytest.mark.parametrize("visit", WIDTHS[1:], indirect=True)
GRAVE = ("serious", "critical")


@pytest.fixture(scope="module")
def browser() -> Iterator["playwright.Browser"]:
    with playwright.sync_playwright() as started:
        opened = started.chromium.launch(executable_path=str(CHROMIUM), args=["--no-sandbox", "--disable-gpu"])
        yield opened
        opened.close()


class Visit:
    """A page that is open, and all that it said or asked for."""

    def __init__(self, browser: "playwright.Browser", served: Client, width: int, scheme: str = "light") -> None:
        self.served = served
        self.context = browser.new_context(
            viewport={"width": width, "height": 900}, color_scheme=scheme, reduced_motion="reduce"
        )
        self.page = self.context.new_page()
        self.said: list[str] = []
        self.asked: list[str] = []
        self.page.on("console", lambda message: self.said.append(f"{message.type}: {message.text}"))
        self.page.on("pageerror", lambda error: self.said.append(str(error)))
        self.page.on("request", lambda request: self.asked.append(request.url))
        self.page.goto(served.server.url)
        self.page.wait_for_selector(".card")

    def ids(self, within: str = "#results") -> list[str]:
        """The file names of the cards, in their order."""
        titles = self.page.locator(f"{within} .card .caption .name").evaluate_all("all => all.map(each => each.title)")
        return [Path(title).stem for title in titles]

    def scored(self) -> None:
        """Wait for the answer to a search."""
        self.page.wait_for_selector("#results:not([aria-busy]) .score")

    def end(self) -> None:
        """Nothing may have been said, nothing asked for elsewhere, and nothing may be wider than the window."""
        assert self.page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        self.page.wait_for_load_state("networkidle")
        assert self.page.title() != "owned"
        assert [url for url in self.asked if not url.startswith(self.served.server.url)] == []
        assert self.said == []
        self.context.close()


@pytest.fixture(params=WIDTHS)
def visit(request: pytest.FixtureRequest, browser: "playwright.Browser", served: Client) -> Iterator[Visit]:
    visit = Visit(browser, served, request.param, "light" if request.param == WIDTHS[0] else "dark")
    yield visit
    visit.end()


def test_words_are_searched_by(visit: Visit) -> None:
    visit.page.fill("#words", "a green thing")
    visit.page.press("#words", "Enter")
    visit.scored()
    assert visit.ids() == visit.served.ids({"by": "text", "value": "a green thing"})


@narrow
def test_a_file_is_searched_by_and_then_what_is_not_like_it(visit: Visit) -> None:
    visit.page.set_input_files("#file", visit.served.made.images / "blue.png")
    visit.scored()
    assert visit.ids()[0] == "blue"
    visit.page.click("#results .card:nth-child(2) [aria-label^='Add as not like']")
    visit.page.wait_for_selector(".example.unlike")
    assert visit.page.locator(".example").count() == 2
    visit.scored()
    assert visit.ids()[0] == "blue"


def test_a_drawn_box_is_searched_by(visit: Visit) -> None:
    page = visit.page
    page.click("#results [aria-label='Open yellow.png']")
    page.wait_for_selector("#record[open] #record-near .card")
    page.locator("#record-picture").evaluate("image => image.decode()")
    place = page.locator("#stage").bounding_box()
    assert place is not None
    page.mouse.move(place["x"] + 2, place["y"] + place["height"] * 0.5)
    page.mouse.down()
    page.mouse.move(place["x"] + place["width"] * 0.3, place["y"] + place["height"] * 0.75)
    page.mouse.move(place["x"] + place["width"] * 0.6, place["y"] + place["height"] - 2)
    page.mouse.up()
    drawn = [float(each.input_value()) for each in page.locator("[data-edge]").all()]
    assert drawn == pytest.approx([1, 50, 60, 99], abs=4)
    with page.expect_request("**/api/search") as asked:
        page.click("#box-search")
    visit.scored()
    [example] = asked.value.post_data_json["examples"]
    assert (example["by"], example["value"]) == ("id", "yellow")
    assert example["box"] == pytest.approx([edge / 100 for edge in drawn], abs=1e-3)
    assert page.locator(".example .name").inner_text() == "part of yellow.png"
    assert visit.ids() == visit.served.ids(example)


@wide
def test_keys_alone_search_open_and_go_on(visit: Visit) -> None:
    page = visit.page
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to the images"
    page.focus("#words")
    page.keyboard.type("a blue thing")
    page.keyboard.press("Enter")
    visit.scored()
    first = visit.ids()[0]
    for _ in range(20):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.className") == "open":
            break
    assert page.evaluate("document.activeElement.getAttribute('aria-label')") == f"Open {first}.png"
    page.keyboard.press("Enter")
    page.wait_for_selector("#record[open] #record-near .card")
    page.keyboard.press("Escape")
    page.wait_for_selector("#record:not([open])", state="attached")
    assert page.evaluate("document.activeElement.className") == "open"
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    page.wait_for_selector(".example")
    visit.scored()
    assert visit.ids()[0] == first


@narrow
def test_two_settings_stand_side_by_side_with_what_differs(visit: Visit) -> None:
    page = visit.page
    page.fill("#words", "a red thing")
    page.click("summary")
    page.fill("#k", "3")
    page.check("#compare")
    page.wait_for_selector(".side .card")
    assert page.locator(".badge").count() == 0
    page.fill("#where", "number > 1")
    page.press("#where", "Enter")
    visit.scored()
    assert page.locator(".side").count() == 2
    assert page.locator(".differs").inner_text() == "3 of 3 images are in both"


@wide
def test_what_a_table_holds_does_nothing_but_show(visit: Visit) -> None:
    page = visit.page
    page.click(f'#results [aria-label="Open {HOSTILE}.png"]')
    page.wait_for_selector("#record-near .card")
    assert page.locator("#record-values").inner_text().count(HOSTILE) >= 2
    assert page.locator("#record img[src='x'], #results img[src='x']").count() == 0
    page.click("#record-close")
    page.click("[data-view=failures]")
    page.wait_for_selector(".failures")
    assert "unsupported_format" in page.locator(".failures").inner_text()
    assert page.locator("#view-failures img, #view-failures svg, #view-failures script").count() == 0


@pytest.mark.parametrize(("width", "scheme"), [(390, "dark"), (1440, "light")])
def test_no_grave_fault_of_access(browser: "playwright.Browser", served: Client, width: int, scheme: str) -> None:
    from axe_playwright_python.sync_playwright import Axe

    visit = Visit(browser, served, width, scheme)
    page, found = visit.page, []

    def look(where: str) -> None:
        for fault in Axe().run(page).response["violations"]:
            if fault["impact"] in GRAVE:
                found.append((where, fault["id"], [node["html"][:200] for node in fault["nodes"]]))

    page.fill("#words", "a green thing")
    page.click("summary")
    page.check("#compare")
    page.wait_for_selector(".side .card")
    page.click(".acts [aria-label^='Add as like'] >> nth=1") if width > 760 else page.uncheck("#compare")
    page.wait_for_load_state("networkidle")
    look("results")
    page.click(".open >> nth=0")
    page.wait_for_selector("#record-near .card")
    look("record")
    page.click("#record-close")
    page.click("[data-view=failures]")
    page.wait_for_selector(".failures")
    look("failures")
    page.goto(f"{served.server.url}api")
    page.wait_for_selector(".operation")
    look("api")
    assert found == []
    visit.end()
