"""The REST API over a real server: searches, rows and pictures, and what is refused."""

import io
import json
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import quote

import pytest
from PIL import Image

from jobs.search import SearchConfig, run
from jobs.web.asked import MOST_RESULTS
from made.served_table import COLOURS, HOSTILE, SIZE
from servers.page import Client


def like(name: str, weight: float = 1.0) -> dict[str, object]:
    return {"by": "id", "value": name, "weight": weight}


def test_the_table_is_described_with_what_can_be_asked(served: Client) -> None:
    about = served.get("/api/table")
    assert (about["rows"], about["failures"], about["regions"]) == (8, 2, False)
    [column] = about["columns"]
    assert (column["name"], column["words"], column["images"], column["index"]) == ("vector", True, True, None)
    assert column["dim"] == 24
    assert about["values"]["caption"] == "string"


def test_words_find_what_the_command_finds(served: Client) -> None:
    asked = run(SearchConfig(table=served.made.table, text=("something red",), k=8))
    found = served.search({"by": "text", "value": "something red"}, k=8)
    assert [row["values"]["id"] for row in found["results"]] == [row["id"] for row in asked.results]
    assert [row["score"] for row in found["results"]] == pytest.approx(
        [row["score"] for row in asked.results], abs=1e-6
    )


def test_an_image_that_is_sent_finds_itself(served: Client) -> None:
    name = served.send_image(served.made.images / "blue.png")
    found = served.search({"by": "image", "value": name}, k=3)
    assert found["results"][0]["values"]["id"] == "blue"
    assert found["results"][0]["score"] == pytest.approx(1, abs=1e-3)
    assert found["query"] == [{"by": "image", "value": name, "weight": 1.0, "box": None}]
    assert "vector" not in found["results"][0]["values"]


def test_a_part_of_an_image_is_asked_by(served: Client, tmp_path: Path) -> None:
    """Two images side by side in one: the half that is asked by is found."""
    both = Image.new("RGB", (2 * SIZE[0], SIZE[1]))
    for at, name in enumerate(("green", "yellow")):
        both.paste(Image.open(served.made.images / f"{name}.png"), (at * SIZE[0], 0))
    both.save(tmp_path / "both.png")
    sent = served.send_image(tmp_path / "both.png")
    for name, box in {"green": [0, 0, 0.5, 1], "yellow": [SIZE[0], 0, 2 * SIZE[0], SIZE[1]]}.items():
        [best] = served.search({"by": "image", "value": sent, "box": box}, k=1)["results"]
        assert (best["values"]["id"], best["score"]) == (name, pytest.approx(1, abs=2e-3))


def test_a_part_of_a_rows_own_image_is_read_again(served: Client) -> None:
    assert served.ids({**like("red"), "box": [0, 0, 1, 1]}, k=1) == ["red"]


def test_several_examples_count_by_their_weights(served: Client) -> None:
    asked = run(SearchConfig(table=served.made.table, id=("red",), not_id=("crimson",), weights=(1, 0.7), k=8))
    assert served.ids(like("red"), like("crimson", -0.7), k=8) == [row["id"] for row in asked.results]


def test_a_filter_leaves_out_rows(served: Client) -> None:
    assert "red" not in served.ids(like("red"), where="number > 0", k=8)
    told = served.search(like("red"), where="nunber > 0", wanted=400)["error"]
    assert "did you mean `number`?" in told


def test_a_filter_that_would_bring_the_server_down_is_refused(served: Client) -> None:
    where = "length(repeat(uri, 1000000)) > 0"
    assert "repeat(…)" in served.search(like("red"), where=where, wanted=400)["error"]
    assert "repeat(…)" in served.get(f"/api/rows?where={quote(where)}", 400)["error"]
    assert "after" in served.get(f"/api/duplicates?after={10**22}", 400)["error"]


def test_a_filter_that_fails_on_a_row_is_no_fault_of_storage(served: Client) -> None:
    assert "does not work on this table" in served.get("/api/rows?where=number/0%3D1", 400)["error"]


@pytest.mark.parametrize(
    ("asked", "why"),
    [
        ({"examples": []}, "examples"),
        ({"examples": [like("red", -1)]}, "at least"),
        ({"examples": [like("red")], "k": MOST_RESULTS + 1}, "k: "),
        ({"examples": [like("red")], "uri": "file:///etc/passwd"}, "uri"),
        ({"examples": [{"by": "image", "value": "/etc/passwd"}]}, "not there any more"),
        ({"examples": [{"by": "image", "value": "../../etc/passwd"}]}, "not there any more"),
        ({"examples": [{"by": "text", "value": "red", "box": [0, 0, 1, 1]}]}, "words have none"),
        ({"examples": [like("nobody")]}, "no row has the id 'nobody'"),
        ({"examples": [like("red")], "column": "wector"}, "no vector column 'wector'"),
        ({"examples": [like("red")], "candidates": 5}, "rescore"),
        ({"examples": [{"by": "id", "value": "red", "box": [1, 2, 3, 1e999]}]}, "box"),
    ],
)
def test_what_cannot_be_answered_is_told_in_a_sentence(served: Client, asked: dict[str, object], why: str) -> None:
    assert why in served.post("/api/search", asked, 400)["error"]


def test_what_is_no_image_is_refused_when_it_is_sent(served: Client) -> None:
    assert (
        "unsupported_format" in served.post("/api/images", b"<svg xmlns='http://www.w3.org/2000/svg'/>", 400)["error"]
    )
    assert "fetch.max_bytes" in served.post("/api/images", b"x" * ((32 << 20) + 1), 413)["error"]
    status, _, body = served.send("POST", "/api/search", b" " * (300 << 10), {"content-type": "application/json"})
    assert (status, list(json.loads(body))) == (413, ["error"])


def test_a_rows_picture_is_small_and_in_the_images_own_shape(served: Client) -> None:
    row = served.row_of("red")
    status, headers, body = served.send("GET", f"/api/rows/{row}/picture?version=1")
    assert (status, headers["content-type"], headers["x-content-type-options"]) == (200, "image/webp", "nosniff")
    picture = Image.open(io.BytesIO(body))
    assert (picture.format, picture.size) == ("WEBP", SIZE)
    assert "max-age" in headers["cache-control"]
    assert served.send("GET", f"/api/rows/{row}/picture?size=huge")[0] == 400
    for path in (f"/api/rows/{10**15}", f"/api/rows/{10**15}/picture", f"/api/images/{'0' * 32}/picture"):
        assert "there" in served.get(path, 404)["error"]


@pytest.mark.parametrize("row", ["99999", "-1", "18446744073709551616", "x", "0%2F..%2F1"])
def test_no_other_row_has_a_picture(served: Client, row: str) -> None:
    assert served.send("GET", f"/api/rows/{row}/picture")[0] in (400, 404)


def test_a_record_has_all_columns_but_the_vectors(served: Client) -> None:
    told = served.get(f"/api/rows/{served.row_of(HOSTILE)}")
    assert told["values"]["caption"] == HOSTILE
    assert told["values"]["width"] == SIZE[0]
    assert "vector" not in told["values"]
    assert len(served.get("/api/rows?limit=3")["rows"]) == 3
    assert served.get("/api/rows?limit=3")["more"] is True


def test_failures_come_with_their_reasons(served: Client) -> None:
    found = served.get("/api/failures")
    assert found["by_class"] == {"not_found": 1, "unsupported_format": 1}
    assert served.get("/api/failures?error_class=not_found")["total"] == 1


def test_the_api_describes_itself(served: Client) -> None:
    described = served.get("/api/openapi.json")
    paths = described["paths"]
    assert "422" not in json.dumps(described)
    assert {"/api/search", "/api/images", "/api/rows/{row}/picture", "/api/table", "/api/failures"} <= paths.keys()
    status, _, page = served.send("GET", "/api")
    assert status == 200
    assert b"http" not in page.replace(b"/page/", b"")


def test_nothing_of_the_disk_is_a_page(served: Client) -> None:
    for path in ("/page/../api.py", "/page/%2e%2e/api.py", "/page//etc/passwd", "/page/nothing.js", "/etc/passwd"):
        assert served.send("GET", path)[0] == 404


def test_fifty_clients_at_once_are_all_answered(served: Client) -> None:
    sent = served.send_image(served.made.images / "navy.png")
    kinds = [like("red"), {"by": "text", "value": "a blue thing"}, {"by": "image", "value": sent}]
    barrier = threading.Barrier(50)

    def ask(number: int) -> int:
        barrier.wait()
        body = json.dumps({"examples": [kinds[number % 3]], "k": 4}).encode()
        first = served.send("POST", "/api/search", body, {"content-type": "application/json"})
        second = served.send("GET", f"/api/rows/{number % len(COLOURS)}/picture")
        return max(first[0], second[0])

    with ThreadPoolExecutor(50) as clients:
        assert set(clients.map(ask, range(50))) == {200}
