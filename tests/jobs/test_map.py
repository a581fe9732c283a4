"""`pixlake map`: the folder, what is in it, and that a browser shows it without the network."""

import functools
import http.server
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from end_to_end.command import pixlake_here
from jobs.config.load import load_config
from jobs.looking.atlas import MARK
from jobs.map import MapConfig, MapReport, as_text, run
from made.table import COLOURS, Made
from operators.base.errors import UserError

CHROMIUM = Path("/usr/bin/chromium")


def map_of(made: Made, out: Path, **given: Any) -> MapReport:
    return run(load_config(MapConfig, base={"table": made.table, "out": str(out), **given}))


@pytest.fixture(scope="module")
def folder(made: Made, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, MapReport]:
    out = tmp_path_factory.mktemp("map") / "of colours"
    return out, map_of(made, out, colour="length", sample=3)


def test_all_that_is_shown_of_a_row_stands_in_the_data(folder: tuple[Path, MapReport]) -> None:
    out, report = folder
    data = pq.read_table(out / "data" / "dataset.parquet")
    assert (report.rows, report.shown, report.pictures, report.without_vector) == (len(COLOURS), 3, 3, 0)
    assert set(data["id"].to_pylist()) < set(COLOURS)
    assert {"__x", "__y", "__neighbors", "image", "length", "uri", "width"} < set(data.column_names)
    assert "vector" not in data.column_names
    assert all(each["bytes"].startswith(b"\xff\xd8") for each in data["image"].to_pylist())
    near = data["__neighbors"].to_pylist()
    assert [sorted(each["ids"]) for each in near] == [[1, 2], [0, 2], [0, 1]]
    assert all(each["distances"] == sorted(each["distances"]) for each in near)
    props = json.loads((out / "data" / "metadata.json").read_text())["props"]
    assert props["defaultChartsConfig"]["embedding"]["data"]["category"] == "length"


def test_a_folder_of_ours_is_made_anew_and_any_other_is_left_alone(
    made: Made, folder: tuple[Path, MapReport], tmp_path: Path
) -> None:
    out, _ = folder
    (out / "stale.txt").write_text("of an earlier map")
    report = map_of(made, out, colour="length", sample=3, thumbnail=0)
    assert report.pictures == 0
    assert not (out / "stale.txt").exists()
    assert json.loads((out / MARK).read_text())["column"] == "vector"
    (tmp_path / "letters").mkdir()
    (tmp_path / "letters" / "mine.txt").write_text("mine")
    with pytest.raises(UserError, match="holds something else than a map"):
        map_of(made, tmp_path / "letters")
    assert [each.name for each in (tmp_path / "letters").iterdir()] == ["mine.txt"]


def test_what_will_not_do_is_said_before_anything_is_read(made: Made, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="--colour shade: no such column; there: id, uri"):
        map_of(made, tmp_path / "map", colour="shade")
    with pytest.raises(UserError, match=r"--colour vector: a page shows no fixed_size_list.*; there: id, uri"):
        map_of(made, tmp_path / "map", colour="vector")
    with pytest.raises(UserError, match="none of 0 rows has a vector"):
        map_of(made, tmp_path / "map", where="length > 100")
    assert not (tmp_path / "map").exists()
    with pytest.raises(UserError, match=r"--out /proc/map: cannot be written: "):
        map_of(made, Path("/proc/map"), sample=2, thumbnail=0)


def test_the_command_says_how_to_look_at_it(made: Made, tmp_path: Path) -> None:
    done = pixlake_here(
        "map", made.table, "--out", str(tmp_path / "map"), "--sample", "2", "--thumbnail", "0", "--json"
    )
    report = MapReport.model_validate(done.json)
    assert report.shown == 2
    assert "python3 -m http.server" in as_text(report)


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def address(folder: tuple[Path, MapReport]) -> Iterator[str]:
    handler = functools.partial(_Quiet, directory=str(folder[0]))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.skipif(not CHROMIUM.exists(), reason=f"needs {CHROMIUM}: Debian's package chromium")
def test_a_browser_shows_it_and_asks_for_nothing_elsewhere(address: str) -> None:
    playwright = pytest.importorskip("playwright.sync_api")
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(
            executable_path=str(CHROMIUM),
            args=["--no-sandbox", "--use-angle=swiftshader", "--enable-unsafe-swiftshader"],
        )
        page = browser.new_page(viewport={"width": 1280, "height": 800})
        asked: list[str] = []
        page.on("request", lambda request: asked.append(request.url))
        page.goto(address)
        # Counted by a database in the page, from the data beside it.
        page.get_by_text("3 points", exact=False).first.wait_for(timeout=120_000)
        assert [url for url in asked if not url.startswith((address, "blob:", "data:"))] == []
        browser.close()
