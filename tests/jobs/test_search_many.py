"""Searches by several examples at once, and by a file of queries, on real tables."""

import json
from pathlib import Path
from typing import Any

import lance
import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest
from PIL import Image

from end_to_end.command import pixlake_here
from jobs.embed import load as load_embed
from jobs.embed import run as embed
from jobs.search import SearchConfig, run, run_many
from made.table import Made
from operators.base.errors import UserError


def vectors_of(made: Made) -> dict[str, np.ndarray]:
    rows = lance.dataset(f"{made.table}.lance").to_table(["id", "vector"]).to_pylist()
    return {row["id"]: np.array(row["vector"], np.float32) for row in rows}


def ranked(made: Made, query: np.ndarray) -> list[str]:
    of_id = vectors_of(made)
    return sorted(of_id, key=lambda name: -float(of_id[name] @ query))


def found(made: Made, **query: Any) -> list[str]:
    return [row["id"] for row in run(SearchConfig(table=made.table, **query)).results]


def test_several_examples_find_what_lies_between_them(made: Made) -> None:
    own = vectors_of(made)
    assert found(made, id=["red", "blue"]) == ranked(made, own["red"] + own["blue"])
    assert found(made, id=["red", "blue"], weights=[1, 9])[0] == "blue"
    by_files = found(made, image=[str(made.folder / f"{name}.png") for name in ("red", "blue")])
    assert by_files == found(made, id=["red", "blue"])
    assert found(made, image=str(made.folder / "red.png"), id="blue") == by_files


def test_what_it_is_to_be_unlike_goes_to_the_end(made: Made) -> None:
    own = vectors_of(made)
    assert found(made, id="red", not_id="crimson") == ranked(made, own["red"] - 0.5 * own["crimson"])
    strongly = found(made, id=["red", "green"], not_id="crimson", weights="1,1,0.9")
    assert strongly == ranked(made, own["red"] + own["green"] - 0.9 * own["crimson"])
    assert strongly != found(made, id=["red", "green"])
    with pytest.raises(UserError, match="cancel each other out"):
        found(made, id="red", not_id="red", weights=[1, 1])


def test_the_result_says_what_was_asked(made: Made) -> None:
    asked = run(SearchConfig(table=made.table, id=["red"], not_image=[str(made.folder / "blue.png")])).query
    assert [(each.by, each.value, each.weight) for each in asked] == [
        ("id", "red", 1.0),
        ("image", str(made.folder / "blue.png"), -0.5),
    ]


def test_one_bad_example_among_good_ones_is_named(made: Made) -> None:
    with pytest.raises(UserError, match="no row has the id 'nobody'"):
        found(made, id=["red", "nobody"])
    with pytest.raises(UserError, match=r"notes\.png: decode failed"):
        found(made, id="red", not_image=str(made.folder / "notes.png"))


def queries_file(folder: Path, ending: str, rows: list[dict[str, Any]]) -> str:
    path = folder / f"queries{ending}"
    table = pa.Table.from_pylist(rows)
    if ending == ".parquet":
        pq.write_table(table, path)
    elif ending == ".csv":
        pa.csv.write_csv(table, path)
    else:
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def many(made: Made, queries: str, out: Path, **more: Any) -> list[dict[str, Any]]:
    run_many(SearchConfig(table=made.table, queries=queries, out=str(out), **more))
    rows: list[dict[str, Any]] = pq.read_table(out).to_pylist()
    return rows


@pytest.mark.parametrize("ending", [".parquet", ".jsonl", ".csv"])
def test_each_query_of_a_file_finds_what_it_finds_alone(made: Made, tmp_path: Path, ending: str) -> None:
    Image.new("RGB", (64, 64), (30, 30, 255)).save(tmp_path / "navy.bmp")
    rows = [
        {"query": "navy", "image": "navy.bmp", "id": None, "weight": 1.0},
        {"query": "007", "image": None, "id": "red", "weight": 2.0},
        {"query": "between", "image": None, "id": "green", "weight": 1.0},
        {"query": "between", "image": None, "id": "blue", "weight": -0.25},
    ]
    answers = many(made, queries_file(tmp_path, ending, rows), tmp_path / "out.parquet", k=3)
    alone = {
        "navy": run(SearchConfig(table=made.table, image=str(tmp_path / "navy.bmp"), k=3)),
        "007": run(SearchConfig(table=made.table, id="red", k=3)),
        "between": run(SearchConfig(table=made.table, id="green", not_id="blue", weights=[1, 0.25], k=3)),
    }
    expected = [
        (name, rank, each["id"], each["uri"]) for name, one in alone.items() for rank, each in enumerate(one.results, 1)
    ]
    assert [(row["query"], row["rank"], row["id"], row["uri"]) for row in answers] == expected
    scores = [each["score"] for one in alone.values() for each in one.results]
    assert [row["score"] for row in answers] == pytest.approx(scores, abs=1e-5)


def test_queries_are_filtered_and_numbered_where_they_have_no_names(made: Made, tmp_path: Path) -> None:
    queries = queries_file(tmp_path, ".csv", [{"id": "red"}, {"id": "blue"}])
    answers = many(made, queries, tmp_path / "out.parquet", where="length = 4")
    assert [(row["query"], row["id"]) for row in answers] == [("0", "blue"), ("1", "blue")]


def test_names_and_ids_of_a_csv_file_are_texts_with_all_their_digits(made: Made, tmp_path: Path) -> None:
    (tmp_path / "queries.csv").write_text("query,id\n007,red\n0,010\n")
    found = run_many(
        SearchConfig(table=made.table, queries=str(tmp_path / "queries.csv"), out=str(tmp_path / "out.parquet"), k=1)
    )
    assert pq.read_table(tmp_path / "out.parquet")["query"].to_pylist() == ["007"]
    assert [each.reason for each in found.unanswered] == [f"table {made.table}: no row has the id '010'"]


def test_a_query_without_a_vector_is_told_and_the_others_are_answered(made: Made, tmp_path: Path) -> None:
    rows = [{"id": "red", "image": None}, {"id": None, "image": str(made.folder / "notes.png")}]
    rows += [{"id": "nobody", "image": None}, {"id": None, "image": str(made.folder / "blue.png")}]
    out = tmp_path / "out.csv"
    queries = queries_file(tmp_path, ".jsonl", rows)
    ended = pixlake_here("search", made.table, "--queries", queries, "--out", str(out), "-k", "1")
    assert ended.code == 0, ended.err
    lines = ended.out.splitlines()
    assert lines[0] == f"4 queries: 2 results in {out}"
    assert lines[1].startswith("no vector for query '1': image ")
    assert lines[2] == f"no vector for query '2': table {made.table}: no row has the id 'nobody'"
    assert pa.csv.read_csv(out)["id"].to_pylist() == ["red", "blue"]
    as_json = pixlake_here("search", made.table, "--queries", queries, "--out", str(out), "-k", "1", "--json")
    told = json.loads(as_json.out)
    assert (told["queries"], told["results"], [each["query"] for each in told["unanswered"]]) == (4, 2, ["1", "2"])


@pytest.mark.parametrize(
    ("rows", "says"),
    [
        ([{"label": "red"}], "has the columns label; it needs `image`, `text` or `id`"),
        ([{"id": "red", "image": "a.png"}], "row 0 has image and id of image, id; give one in each row"),
        ([{"id": "red"}, {"id": None}], "row 1 has none of id; give one in each row"),
        ([{"id": "red", "weight": 0}], "row 0 has the weight 0.0; it must be a number other than 0"),
        ([{"id": "red", "weight": -1}], "query '0' has no weight above 0"),
        ([{"id": "red", "weight": "much"}], "column weight is string; it must be numbers"),
        ([{"id": ["red"]}], r"column id is list<.*>; it must be text"),
        ([{"id": "red", "query": None}, {"id": "red", "query": "a"}], "row 0 has no query"),
    ],
)
def test_a_file_that_is_no_list_of_queries_says_where(
    made: Made, tmp_path: Path, rows: list[dict[str, Any]], says: str
) -> None:
    path = queries_file(tmp_path, ".parquet", rows)
    with pytest.raises(UserError, match=says) as error:
        many(made, path, tmp_path / "out.parquet")
    assert str(error.value).startswith(f"queries {path}: ")
    assert not (tmp_path / "out.parquet").exists()


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("none.csv", None, "no such file"),
        ("queries.txt", b"red", r"the name must end in \.parquet, \.jsonl or \.csv"),
        ("queries.parquet", b"red", "is no parquet file that can be read"),
        ("queries.jsonl", b"{", "is no jsonl file that can be read"),
        ("queries.csv", b"id\n", "has no rows"),
    ],
)
def test_a_file_that_cannot_be_read_is_one_sentence(
    made: Made, tmp_path: Path, name: str, content: bytes | None, says: str
) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=says) as error:
        many(made, str(tmp_path / name), tmp_path / "out.parquet")
    assert "\n" not in str(error.value)


def test_many_queries_go_through_one_model_and_one_pass_and_give_the_same(made: Made, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for at in range(70):
        Image.fromarray(rng.integers(0, 256, (8, 8, 3), np.uint8)).resize((40, 30)).save(tmp_path / f"{at}.png")
    queries = queries_file(tmp_path, ".csv", [{"image": f"{at}.png"} for at in range(70)])
    answers = many(made, queries, tmp_path / "out.parquet", k=2)
    assert [row["query"] for row in answers] == [str(at) for at in range(70) for _ in range(2)]
    for at in (0, 31, 32, 69):
        alone = found(made, image=str(tmp_path / f"{at}.png"), k=2)
        assert [row["id"] for row in answers if row["query"] == str(at)] == alone


@pytest.mark.parametrize("layout", ["rows", "multivector"])
def test_queries_of_a_table_with_regions_find_images_and_say_which_region(tmp_path: Path, layout: str) -> None:
    colours = {"warm": [(250, 5, 5), (250, 250, 5)], "cold": [(5, 5, 250), (5, 250, 5)]}
    (tmp_path / "images").mkdir()
    for name, (left, right) in colours.items():
        image = Image.new("RGB", (80, 40), left)
        image.paste(right, (40, 0, 80, 40))
        image.save(tmp_path / "images" / f"{name}.png")
    Image.new("RGB", (40, 40), (5, 250, 5)).save(tmp_path / "green.png")
    table = str(tmp_path / "lake" / "halves")
    base = {
        "source": {"uri": str(tmp_path / "images")},
        "table": table,
        "model": {"name": "null"},
        "regions": {"kind": "grid", "rows": 1, "columns": 2, "layout": layout},
        "cluster": {"executor": "local"},
        "decode": {"isolate": False},
    }
    embed(load_embed(base=base))
    queries = queries_file(tmp_path, ".csv", [{"query": "green", "image": "green.png"}])
    out = tmp_path / "out.parquet"
    run_many(SearchConfig(table=table, queries=queries, out=str(out), group=True, k=2))
    rows = pq.read_table(out).to_pylist()
    assert [Path(row["uri"]).stem for row in rows] == ["cold", "warm"]
    assert rows[0]["region_id" if layout == "rows" else "region"] == (f"{rows[0]['id']}#1" if layout == "rows" else 1)
    alone = run(SearchConfig(table=table, image=str(tmp_path / "green.png"), group=True, k=2))
    assert [row["score"] for row in rows] == pytest.approx([row["score"] for row in alone.results], abs=1e-5)
    if layout == "multivector":
        with pytest.raises(UserError, match="several vectors here"):
            run(SearchConfig(table=table, image=[str(tmp_path / "green.png"), str(tmp_path / "images" / "warm.png")]))
