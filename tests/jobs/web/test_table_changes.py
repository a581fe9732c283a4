"""A table that is made anew, or whose files go away, under a server that has it open."""

import io
import shutil
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from end_to_end.command import embed_here
from made.parquet_images import write_images
from made.served_table import ServedFolder
from made.solid_images import colour_of, png_of
from made.sources import make_folder
from pipelines.versions.followed import LOOKED_S
from servers.page import Client, serving


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Client]:
    """A table of images 0 to 9, and images 10 to 19 beside it."""
    make_folder(tmp_path / "old", range(10))
    make_folder(tmp_path / "new", range(10, 20))
    made = ServedFolder(images=tmp_path, table=f"{tmp_path}/lake/t", model="null")
    embed(made, "old")
    with serving(made) as client:
        yield client


def embed(made: ServedFolder, folder: str, *arguments: str) -> None:
    ended = embed_here(f"{made.images}/{folder}", made.table, *arguments)
    assert ended.code == 0, ended.err


def made_anew(client: Client) -> None:
    """The table of other images, with the same number of rows and versions."""
    before = client.get("/api/table")["version"]
    embed(client.made, "new", "--overwrite")
    time.sleep(LOOKED_S)
    assert client.get("/api/table")["version"] == before


def asked(client: Client, number: int, wanted: int = 200, **settings: Any) -> Any:
    image = client.post("/api/images", png_of(number))["image"]
    return client.search({"by": "image", "value": image}, wanted=wanted, k=1, exact=True, **settings)


def test_rows_of_a_table_that_was_made_anew_are_there(served: Client) -> None:
    [first] = served.get("/api/rows?limit=1")["rows"]
    made_anew(served)
    now = served.get(f"/api/rows/{first['row']}")["values"]["uri"]
    assert Path(now).parent.name == "new"


def test_a_picture_is_of_the_image_that_is_meant(served: Client) -> None:
    [first] = served.get("/api/rows?limit=1")["rows"]
    picture = f"/api/rows/{first['row']}/picture?sha256="
    assert served.send("GET", picture + first["values"]["sha256"])[0] == 200
    made_anew(served)
    assert "another image" in served.get(picture + first["values"]["sha256"], 404)["error"]
    [now] = served.get("/api/rows?limit=1")["rows"]
    assert (now["row"], served.send("GET", picture + now["values"]["sha256"])[0]) == (first["row"], 200)


def test_images_of_another_folder_that_come_later_have_pictures(served: Client) -> None:
    embed(served.made, "new")
    time.sleep(LOOKED_S)
    rows = served.get("/api/rows")["rows"]
    assert {Path(each["values"]["uri"]).parent.name for each in rows} == {"old", "new"}
    with ThreadPoolExecutor(len(rows)) as threads:
        told = [*threads.map(lambda each: served.send("GET", f"/api/rows/{each['row']}/picture"), rows)]
    assert [status for status, _, _ in told] == [200] * len(rows), told


def test_images_within_a_file_that_was_written_again_are_its_own(tmp_path: Path) -> None:
    made = ServedFolder(images=tmp_path, table=f"{tmp_path}/lake/t", model="null")
    write_images(tmp_path / "in" / "a.parquet", range(10))
    embed(made, "in")
    with serving(made) as client:
        _check_picture(client, 3)
        write_images(tmp_path / "in" / "a.parquet", range(100, 110))
        embed(made, "in", "--overwrite")
        time.sleep(LOOKED_S)
        _check_picture(client, 103)


def _check_picture(client: Client, number: int) -> None:
    """The fourth row's is of the image of that number."""
    picture = client.send("GET", f"/api/rows/{client.get('/api/rows')['rows'][3]['row']}/picture")[2]
    seen = np.asarray(Image.open(io.BytesIO(picture)).convert("RGB")).mean((0, 1))
    assert np.allclose(seen, colour_of(number), atol=8)


def test_a_filtered_search_finds_what_is_there_now(served: Client) -> None:
    made_anew(served)
    [found] = asked(served, 15, where="width > 0")["results"]
    assert Path(found["values"]["uri"]).name == "00015.png"


def test_files_that_are_gone_are_storage_that_fails_and_nothing_else(served: Client) -> None:
    shutil.rmtree(f"{served.made.table}.lance/data")
    for path in ("/api/rows", "/api/rows/0", "/api/rows/0/picture", "/api/rows?where=width%20%3E%200"):
        assert "not there" in served.get(path, 503)["error"] or "Not found" in served.get(path, 503)["error"], path
    for settings in ({}, {"where": "width > 0"}):
        assert "not there" in asked(served, 3, 503, **settings)["error"]
