"""Searching a real table by image, by id, filtered, and what a bad query is told."""

import json
import shlex
import subprocess
import sys
from decimal import Decimal
from pathlib import Path

import lance
import numpy as np
import pyarrow as pa
import pytest
from aiohttp import web
from PIL import Image

from jobs.config.load import ConfigError, load_config
from jobs.querying.asked import AskedPart
from jobs.search import SearchConfig, SearchResult, as_text, run
from made.table import COLOURS, Made, make
from operators.base.arrays import vector_field, vectors_from_numpy
from operators.base.errors import UserError
from operators.decode import DecodeOptions
from operators.fetching.options import FetchOptions
from operators.models.load import describe
from operators.models.spec import parse_model_name
from operators.normalize import NormalizeOptions
from pipelines.embedding.chain import operator_chain
from pipelines.embedding.columns import Options, VectorColumn
from pipelines.embedding.image_embedding import OPERATORS
from pipelines.run.cluster import ClusterConfig, StageConfig
from pipelines.space.field import with_space
from pipelines.space.record import space_record
from servers.served import Served


def search(made: Made, **query: object) -> SearchResult:
    return run(SearchConfig(table=made.table, **query))  # type: ignore[arg-type]


def ids(found: SearchResult) -> list[str]:
    return [row["id"] for row in found.results]


def test_an_image_of_the_table_finds_itself_and_then_its_like(made: Made) -> None:
    found = search(made, image=str(made.folder / "red.png"), k=2)
    assert ids(found) == ["red", "crimson"]
    assert found.results[0]["score"] == pytest.approx(1, abs=1e-3)
    assert found.results[0]["score"] > found.results[1]["score"] > 0.9
    assert found.query == [AskedPart(by="image", value=str(made.folder / "red.png"), weight=1)]


def test_a_new_image_finds_the_nearest(made: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Image.new("RGB", (64, 64), (30, 30, 255)).save(tmp_path / "navy.bmp")
    monkeypatch.chdir(tmp_path)
    for name in ("navy.bmp", str(tmp_path / "navy.bmp"), f"file://{tmp_path}/navy.bmp"):
        assert ids(search(made, image=name, k=1)) == ["blue"]


class OneImage(Served):
    def __init__(self, data: bytes) -> None:
        self.data = data
        super().__init__()

    async def answer(self, request: web.Request) -> web.Response:
        assert request.query["X-Amz-Signature"] == "SECRET"
        return web.Response(body=self.data)


def test_a_signed_address_is_fetched_and_shown_without_its_signature(made: Made) -> None:
    server = OneImage((made.folder / "red.png").read_bytes())
    try:
        query = {"image": f"{server.url}/red.png?X-Amz-Signature=SECRET", "fetch": {"allowed_cidrs": ["127.0.0.0/8"]}}
        found = search(made, k=1, **query)
    finally:
        server.close()
    assert ids(found) == ["red"]
    assert "SECRET" not in found.model_dump_json()


def test_a_link_that_the_user_names_is_followed(made: Made, tmp_path: Path) -> None:
    (tmp_path / "link.png").symlink_to(made.folder / "green.png")
    assert ids(search(made, image=str(tmp_path / "link.png"), k=1)) == ["green"]


def test_an_id_finds_itself_also_one_with_a_quote(made: Made) -> None:
    for name in ("green", "o'grey"):
        assert ids(search(made, id=name))[0] == name


def test_a_label_of_a_stranger_does_nothing_to_the_terminal() -> None:
    box = {"x0": 1.0, "y0": 2.0, "x1": 3.0, "y1": 4.0}
    region = {"kind": "box", "index": 0, "box": box, "label": "a\x1b[2J\nb\u202e", "score": None}
    row = {"id": "a\rb", "region_id": "a\rb#0", "uri": "file:///a\tb", "region": region, "score": 0.5}
    found = SearchResult(
        table="t",
        column="vector",
        rescored_by=None,
        metric="cosine",
        index=None,
        unindexed_rows=0,
        query=[],
        results=[row],
    )
    assert as_text(found) == "0.5000  file:///a b  box a [2J b  1,2,3,4  a b#0\nscore: cosine"


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
    assert as_text(found) == f"{row['score']:.4f}  {row['uri']}  red\nscore: cosine"


@pytest.mark.parametrize(
    ("query", "says"),
    [
        ({"id": "nobody"}, "no row has the id 'nobody'"),
        ({"id": "notes"}, "no row has the id 'notes': its image has failed, "),
        ({"id": "notes"}, "/notes.png: decode, unsupported_format: "),
        ({"id": ("red", "missing")}, "no row has the id 'missing': its image has failed, "),
        ({"id": "2bc5b92b…"}, "no row has the id '2bc5b92b…'; ids are whole here"),
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


@pytest.fixture(scope="module")
def two_columns(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A table of two vector columns with what Pixlake records of each, and one that a user added. Only the second
    model knows words."""
    names = {"vector_plain": "null", "vector_words": "open_clip:ViT-S-32-alt/random-0"}
    ids = ["a", "b", "c"]
    columns, fields = [pa.array(ids), pa.array(ids)], [pa.field("id", pa.string()), pa.field("uri", pa.string())]
    for column, name in names.items():
        model = describe(parse_model_name(name))
        vectors = np.random.default_rng(len(columns)).normal(size=(3, model.dim)).astype(np.float16)
        chain = operator_chain(
            [VectorColumn(name=column, model=model, precision="float32")],
            Options(fetch=FetchOptions(), decode=DecodeOptions(), normalize=NormalizeOptions()),
            ClusterConfig(stages=(StageConfig(name="all", operators=OPERATORS),)),
        )
        operators = [config for configs in chain.values() for config in configs]
        columns.append(vectors_from_numpy(vectors))
        fields.append(with_space(vector_field(model.dim, pa.float16(), column), space_record(operators, column), model))
    columns.append(pa.array([[1.0, 0.0]] * 3, pa.list_(pa.float32(), 2)))
    fields.append(pa.field("theirs", columns[-1].type))
    folder = tmp_path_factory.mktemp("two")
    lance.write_dataset(pa.Table.from_arrays(columns, schema=pa.schema(fields)), folder / "t.lance")
    return str(folder / "t")


def test_words_need_a_column_whose_model_knows_words_and_are_told_which_has_one(two_columns: str) -> None:
    says = (
        r"vector_plain holds vectors of a model without a text tower; search by words with --column vector_words \(open"
    )
    with pytest.raises(UserError, match=says):
        run(SearchConfig(table=two_columns, text="a cat", column="vector_plain"))
    found = run(SearchConfig(table=two_columns, text="a cat", column="vector_words", k=2))
    assert (found.column, len(found.results)) == ("vector_words", 2)


@pytest.mark.parametrize("query", [{"text": "a cat"}, {"image": "cat.jpg"}])
def test_a_space_that_this_pixlake_does_not_compute_is_not_searched(
    two_columns: str, tmp_path: Path, query: dict[str, str]
) -> None:
    table = lance.dataset(f"{two_columns}.lance").to_table()
    index = table.schema.get_field_index("vector_words")
    field = table.schema.field(index)
    later = field.metadata[b"pixlake.space"].replace(b'"decoder": 2', b'"decoder": 99')
    field = field.with_metadata({**field.metadata, b"pixlake.space": later})
    lance.write_dataset(table.cast(table.schema.set(index, field)), tmp_path / "t.lance")
    with pytest.raises(UserError, match=r"decode\.decoder: the table has 99"):
        run(SearchConfig(table=f"{tmp_path}/t", column="vector_words", **query))


def test_a_column_that_a_user_added_is_no_vector_column_of_ours(two_columns: str) -> None:
    with pytest.raises(UserError, match=r"several .*: vector_plain \(null\), vector_words \(open\S*\)$"):
        run(SearchConfig(table=two_columns, id="a"))
    found = run(SearchConfig(table=two_columns, id="a", column="vector_plain", k=1))
    assert set(found.results[0]) == {"id", "uri", "theirs", "score"}
    assert ids(found) == ["a"]


@pytest.mark.parametrize(
    ("query", "says"),
    [
        ({}, "give at least one --image, --text or --id"),
        ({"not_id": "a"}, "give at least one --image, --text or --id"),
        ({"queries": "q.csv"}, "belong together"),
        ({"id": "a", "out": "a.csv"}, "belong together"),
        ({"queries": "q.csv", "out": "a.csv", "id": "b"}, "--id is about one query, and --queries asks many"),
        ({"queries": "q.csv", "out": "a.csv", "nprobes": 3}, "--nprobes is about one query"),
        ({"queries": "q.csv", "out": "a.txt"}, r"must end in \.parquet, \.jsonl or \.csv"),
        ({"id": ["a", "b"], "not_id": "c", "weights": "1,2"}, r"2, for 3 examples \(in .*: --id, --id, --not-id\)"),
        ({"id": ["a", "b"], "weights": "1,-2"}, "--weights are above 0; what is not to be found is --not-image"),
        ({"id": "a", "weights": "one"}, "weights"),
        ({"image": ["a.png", "b.png"], "box": "0,0,1,1"}, "give one image"),
        ({"image": "a.png", "not_text": "b", "bridge": "x"}, "--bridge is about --image"),
    ],
)
def test_what_cannot_be_asked_together_is_told_before_anything_is_read(query: dict[str, object], says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        load_config(SearchConfig, base={"table": "t", **query})


def test_a_table_that_is_not_there_says_how_to_make_it(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"there is none at .*/none\.lance; `pixlake embed SOURCE"):
        run(SearchConfig(table=str(tmp_path / "none"), id="x"))
    assert list(tmp_path.iterdir()) == []


def test_a_double_quoted_word_in_a_filter_is_a_column_and_another_is_refused_before_the_model_is_loaded(
    made: Made,
) -> None:
    assert ids(search(made, id="red", where='"length" = 4')) == ["blue"]
    assert len(search(made, id="red", where="\"id\" = 'red' OR \"format\" = 'gif'").results) == 1
    with pytest.raises(UserError, match=r"no column 'lenght'; did you mean `length` or `height`\?; a word in d"):
        search(made, image="/no/such/file.png", where='"lenght" IS NOT NULL')
    with pytest.raises(UserError, match="Divide by zero"):
        search(made, id="red", where="1 / (length - length) = 1")


def test_a_column_of_the_tables_own_called_score_or_region_is_not_lost(tmp_path: Path) -> None:
    made = make(tmp_path)
    lance.dataset(f"{made.table}.lance").add_columns({"score": "length * 10", "region": "'north'"})
    [row] = search(made, id="blue", k=1).results
    assert row["score"] == pytest.approx(1, abs=1e-3)
    assert (row["column.score"], row["region"]) == (40, "north")
    assert as_text(search(made, id="blue", k=1)).endswith(f"{row['uri']}  blue\nscore: cosine")


def test_an_id_that_is_a_hash_is_shown_by_its_beginning_and_a_users_own_whole() -> None:
    row = {"uri": "/a.jpg", "score": 0.5}
    for row_id, shown in {
        "0123456789abcdef0123456789abcdef": "01234567…",
        "0123456789abcdef0123456789abcdef#12": "01234567…#12",
        "0123456789abcdef0123456789abcdef-2": "0123456789abcdef0123456789abcdef-2",
        "cat": "cat",
    }.items():
        found = SearchResult(
            table="t",
            column="vector",
            rescored_by=None,
            metric="cosine",
            index=None,
            unindexed_rows=0,
            query=[],
            results=[],
        )
        found.results.append(row | {"id": row_id})
        assert as_text(found) == f"0.5000  /a.jpg  {shown}\nscore: cosine"


def test_json_holds_every_value_of_a_kept_column_and_no_token_that_json_does_not_know(tmp_path: Path) -> None:
    made = make(tmp_path)
    path = f"{made.table}.lance"
    raw = pa.table({"id": list(COLOURS)})
    raw = raw.append_column("raw", pa.array([b"\xff\x00"] * 5))
    raw = raw.append_column("half", pa.array([np.float16("nan")] * 5, pa.float16()))
    raw = raw.append_column("price", pa.array([Decimal("1.50")] * 5, pa.decimal128(5, 2)))
    raw = raw.append_column("parts", pa.array([[{"key": b"k", "at": 1}]] * 5, PARTS))
    lance.dataset(path).merge(raw, "id")
    answer = run(SearchConfig(table=made.table, id="red", k=1))
    [row] = json.loads(json.dumps(answer.model_dump(mode="json"), allow_nan=False))["results"]
    assert (row["raw"], row["half"], row["price"]) == ("/wA=", "NaN", "1.50")
    assert row["parts"] == [{"key": "aw==", "at": "1970-01-01T01:00:00.000001+01:00"}]
    assert answer.results[0]["raw"] == b"\xff\x00"


PARTS = pa.list_(pa.struct([("key", pa.binary()), ("at", pa.timestamp("us", "Europe/Berlin"))]))


def test_a_table_with_lances_own_column_of_distances_is_told_the_line_that_renames_it(tmp_path: Path) -> None:
    made = make(tmp_path)
    lance.dataset(f"{made.table}.lance").add_columns({"_distance": "length * 10"})
    with pytest.raises(UserError, match=r"no search can read the table\. Rename it: python -c ") as refused:
        search(made, id="blue", k=1)
    python, *arguments = shlex.split(str(refused.value).partition("Rename it: ")[2])
    subprocess.run([sys.executable, *arguments], check=True)
    assert (python, search(made, id="blue", k=1).results[0]["distance"]) == ("python", 40)
