"""Searching a real table by image, by id, filtered, and what a bad query is told."""

import json
from pathlib import Path

import pytest
from made_table import Made
from PIL import Image

from jobs.config import ConfigError, load_config
from jobs.search import SearchConfig, SearchResult, as_text, run
from operators.errors import UserError


def search(made: Made, **query: object) -> SearchResult:
    return run(SearchConfig(table=made.table, **query))  # type: ignore[arg-type]


def ids(found: SearchResult) -> list[str]:
    return [row["id"] for row in found.results]


def test_an_image_of_the_table_finds_itself_and_then_its_like(made: Made) -> None:
    found = search(made, image=str(made.folder / "red.png"), k=2)
    assert ids(found) == ["red", "crimson"]
    assert found.results[0]["score"] == pytest.approx(1, abs=1e-3)
    assert found.results[0]["score"] > found.results[1]["score"] > 0.9
    assert found.query == {"image": str(made.folder / "red.png")}


def test_a_new_image_finds_the_nearest(made: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Image.new("RGB", (64, 64), (30, 30, 255)).save(tmp_path / "navy.bmp")
    monkeypatch.chdir(tmp_path)
    for name in ("navy.bmp", str(tmp_path / "navy.bmp"), f"file://{tmp_path}/navy.bmp"):
        assert ids(search(made, image=name, k=1)) == ["blue"]


def test_a_link_that_the_user_names_is_followed(made: Made, tmp_path: Path) -> None:
    (tmp_path / "link.png").symlink_to(made.folder / "green.png")
    assert ids(search(made, image=str(tmp_path / "link.png"), k=1)) == ["green"]


def test_an_id_finds_itself_also_one_with_a_quote(made: Made) -> None:
    for name in ("green", "o'grey"):
        assert ids(search(made, id=name))[0] == name


def test_k_and_where_bound_the_results(made: Made) -> None:
    assert len(search(made, id="red", k=3).results) == 3
    assert len(search(made, id="red", k=100).results) == 5
    found = search(made, id="red", where="length = 4")
    assert ids(found) == ["blue"]
    assert search(made, id="red", where="length > 100").results == []
    assert as_text(search(made, id="red", where="length > 100")) == "no rows match"


def test_results_carry_the_rows_columns_and_no_vector(made: Made) -> None:
    found = search(made, id="red", k=1)
    [row] = found.results
    assert (row["width"], row["height"], row["format"], row["length"]) == (40, 30, "png", 3)
    assert row["uri"] == str(made.folder / "red.png")
    assert "vector" not in row
    assert "_distance" not in row
    json.dumps(found.model_dump(mode="json"), allow_nan=False)
    assert as_text(found) == f"{row['score']:.4f}  red  {row['uri']}"


@pytest.mark.parametrize(
    ("query", "says"),
    [
        ({"id": "nobody"}, "no row has the id 'nobody'"),
        ({"text": "a red square"}, "search this table by --image or --id"),
        ({"image": "/no/such/file.png"}, "image /no/such/file.png: fetch failed, not_found"),
        ({"id": "red", "where": "colour = 1"}, "--where 'colour = 1' does not work on this table"),
        ({"id": "red", "where": "length ="}, "columns: id, uri"),
    ],
)
def test_a_query_that_cannot_be_answered_says_why(made: Made, query: dict[str, str], says: str) -> None:
    with pytest.raises(UserError) as error:
        search(made, **query)
    assert says in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("query", [{}, {"id": "a", "text": "b"}])
def test_one_query_is_asked_at_a_time(query: dict[str, str]) -> None:
    with pytest.raises(ConfigError, match=f"give one of --image, --text and --id, not {len(query)}"):
        load_config(SearchConfig, base={"table": "t", **query})


def test_a_table_that_is_not_there_says_how_to_make_it(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"there is none at .*/none\.lance; `pixlake embed SOURCE"):
        run(SearchConfig(table=str(tmp_path / "none"), id="x"))
    assert list(tmp_path.iterdir()) == []
