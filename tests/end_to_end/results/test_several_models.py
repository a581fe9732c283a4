"""Several models in one pass: what each alone would give, from one fetch and one decode of each image."""

import signal
from pathlib import Path
from typing import Any

import lance
import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from end_to_end.audit import Expected, audit, committed_uris, num_versions
from end_to_end.command import LOOPBACK, Ended, end, pixlake, pixlake_here, start
from made.sources import make_folder, write_manifest
from servers.images import ImageServer

HERE = ("--set", "cluster.executor=local")
TWO = ("--model", "null", "--model", "vit=timm:test_vit/random-0")
TWINS = ("--model", "a=null", "--model", "b=null")
"""One model twice: no library to load, two columns all the same."""
TWIN_COLUMNS = ("vector_a", "vector_b")


def noise(folder: Path, numbers: range) -> list[Expected]:
    """JPEGs of unlike shapes, of which every resize and every crop shows."""
    folder.mkdir()
    for number in numbers:
        shape = (90 + 37 * (number % 4), 200 - 23 * (number % 5), 3)
        pixels = np.random.default_rng(number).integers(0, 256, shape, np.uint8)
        Image.fromarray(pixels).save(folder / f"{number}.jpg", quality=95)
    return [Expected(str(folder / f"{number}.jpg")) for number in numbers]


def held(table: str) -> pa.Table:
    return lance.dataset(f"{table}.lance").to_table().sort_by([("shard", "ascending"), ("row", "ascending")])


def embed(source: Path | str, table: str, *arguments: str) -> Ended:
    return pixlake_here("embed", str(source), table, *HERE, "--set", "decode.isolate=false", *arguments)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """One table of two models, one of each alone; the images from a server and from files. The last one is black:
    the null model's vector of it is zero, the other's is not."""
    folder, server = tmp_path_factory.mktemp("several"), ImageServer()
    rows = server.expected(range(20)) + noise(folder / "images", range(20)) + [Expected(str(folder / "black.png"))]
    Image.new("RGB", (20, 20)).save(folder / "black.png")
    manifest = write_manifest(folder / "manifest.parquet", rows)
    roots = ("--set", f"fetch.allowed_roots=[{folder}]", *LOOPBACK, "--json")
    runs = {"both": TWO, "null": TWO[:2], "vit": ("--model", "timm:test_vit/random-0")}
    made: dict[str, Any] = {"folder": folder, "manifest": manifest, "rows": rows, "tables": {}, "reports": {}}
    for name, models in runs.items():
        server.forget()
        isolate = ("--set", f"decode.isolate={str(name == 'both').lower()}")
        ended = pixlake_here("embed", manifest, f"{folder}/lake/{name}", *HERE, *models, *roots, *isolate)
        assert ended.code == 0, ended.err
        made["tables"][name], made["reports"][name] = f"{folder}/lake/{name}", ended.json
        made.setdefault("requested", {})[name] = dict(server.requested)
    server.close()
    return made


def test_each_column_is_what_its_model_alone_gives_bit_for_bit(made: dict[str, Any]) -> None:
    both, null, vit = (held(made["tables"][name]) for name in ("both", "null", "vit"))
    assert (both.num_rows, vit.num_rows) == (40, 41)
    vit = vit.slice(0, 40)
    assert both["vector_null"].combine_chunks().equals(null["vector"].combine_chunks())
    assert both["vector_vit"].combine_chunks().equals(vit["vector"].combine_chunks())
    assert both.drop_columns(["vector_null", "vector_vit"]).equals(null.drop_columns(["vector"]))
    distinct = np.unique(np.stack(both["vector_vit"].to_pylist()), axis=0)
    assert len(distinct) == 40


def test_each_space_is_that_of_its_model_alone(made: dict[str, Any]) -> None:
    both, null, vit = (made["reports"][name]["space_digests"] for name in ("both", "null", "vit"))
    assert both == {"vector_null": null["vector"], "vector_vit": vit["vector"]}
    described = pixlake_here("describe", made["tables"]["both"], "--json").json
    columns = described["vector_columns"]
    assert {name: (each["model"], each["dim"]) for name, each in columns.items()} == {
        "vector_null": ("null", 192),
        "vector_vit": ("timm:test_vit/random-0", 64),
    }
    assert {name: each["space_digest"] for name, each in columns.items()} == both
    assert columns["vector_vit"]["space"]["decode"]["preprocess"]["height"] == 160


def test_an_image_is_fetched_and_decoded_once(made: dict[str, Any]) -> None:
    assert set(made["requested"]["both"].values()) == {1}
    assert len(made["requested"]["both"]) == 20
    both, null = (made["reports"][name] for name in ("both", "null"))
    assert both["requests_per_image"] == null["requests_per_image"]
    assert both["image_bytes"] == null["image_bytes"]
    assert set(both["stages"]["embed"]["seconds"]) == {"fetch", "decode", "embed", "normalize"}


def test_the_report_and_the_plan_show_every_model(made: dict[str, Any]) -> None:
    report = made["reports"]["both"]
    assert {name: model["name"] for name, model in report["config"]["models"].items()} == {
        "null": "null",
        "vit": "timm:test_vit/random-0",
    }
    assert report["stages"]["embed"]["load_seconds"] > 0
    twins = (*HERE, *TWINS, "--set", "models.b.precision=bfloat16", "--set", "cluster.num_cpus=2")
    planned = pixlake_here("embed", made["manifest"], f"{made['folder']}/lake/none", *twins, "--dry-run").out
    for line in (
        "model    vector_a: null (192-d, 0 parameters, float32)",
        "model    vector_b: null (192-d, 0 parameters, bfloat16)",
        "stage    embed: fetch -> decode -> embed -> normalize (1 actor, 2 CPUs)",
        "column   vector_a: fixed_size_list<item: halffloat>[192]",
        "column   vector_b: fixed_size_list<item: halffloat>[192]",
        f"digest   vector_a: {report['space_digests']['vector_null']}",
    ):
        assert line in planned.splitlines()


@pytest.mark.parametrize(("column", "alone"), [("vector_null", "null"), ("vector_vit", "vit")])
def test_a_search_names_the_column_and_finds_as_in_a_table_of_its_own(
    made: dict[str, Any], column: str, alone: str
) -> None:
    image = made["rows"][25].uri
    for query in (("--image", image), ("--id", held(made["tables"]["both"])["id"][30].as_py())):
        here = pixlake_here("search", made["tables"]["both"], *query, "--column", column, "-k", "5", "--json").json
        there = pixlake_here("search", made["tables"][alone], *query, "-k", "5", "--json").json
        assert (here["column"], there["column"]) == (column, "vector")
        assert here["results"] == there["results"]
        assert not [name for name in here["results"][0] if name.startswith("vector")]
        assert here["results"][0]["score"] > 0.999


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ((), "several vector columns, name one with --column: vector_null (null), vector_vit (timm:test_vit/random-0)"),
        (("--column", "vector"), "no vector column 'vector'; there: vector_null (null), vector_vit"),
    ],
)
def test_a_search_without_the_column_is_told_which_there_are(
    made: dict[str, Any], arguments: tuple[str, ...], says: str
) -> None:
    refused = pixlake_here("search", made["tables"]["both"], "--id", "x", *arguments)
    assert refused.code == 2
    assert says in refused.err


@pytest.mark.parametrize(
    ("models", "says"),
    [
        (("--model", "null"), "this run would write vector."),
        (("--model", "a=null"), "this run would write vector_a."),
        ((*TWINS, "--model", "c=null"), "this run would write vector_a, vector_b, vector_c."),
        (("--model", "a=null", "--model", "c=null"), "this run would write vector_a, vector_c."),
        ((*TWINS, "--set", "models.b.precision=bfloat16"), "table {}: the vectors of vector_b mean something"),
    ],
)
def test_a_table_of_other_columns_is_refused_and_unchanged(tmp_path: Path, models: tuple[str, ...], says: str) -> None:
    expected = make_folder(tmp_path / "images", range(5))
    more, table = tmp_path / "more", f"{tmp_path}/lake/photos"
    make_folder(more, range(5, 8))
    assert embed(tmp_path / "images", table, *TWINS).code == 0
    before = num_versions(table)
    refused = embed(more, table, *models)
    assert (refused.code, refused.out) == (2, "")
    assert says.format(table) in refused.err
    if "mean something" not in says:
        assert "its vector columns are vector_a, vector_b" in refused.err
        assert "or another table" in refused.err
    assert num_versions(table) == before
    audit(table, expected, columns=TWIN_COLUMNS)


def test_a_row_that_one_model_fails_is_a_failure_that_says_which(made: dict[str, Any]) -> None:
    failures = {}
    for name in ("both", "null", "vit"):
        listed = pixlake_here("failures", made["tables"][name], "--json").json
        failures[name] = [(row["uri"], row["stage"], row["error_class"], row["error"]) for row in listed["rows"]]
    black = (f"{made['folder']}/black.png", "normalize", "bad_vector")
    assert failures == {
        "both": [(*black, "vector_null: the vector is zero")],
        "null": [(*black, "the vector is zero")],
        "vit": [],
    }


@pytest.mark.kill
def test_an_interrupted_run_of_two_models_goes_on(tmp_path: Path, image_server: ImageServer) -> None:
    expected = image_server.expected(range(200))
    manifest, table = write_manifest(tmp_path / "manifest.parquet", expected), f"{tmp_path}/lake/photos"
    sizes = ("--set", "cluster.block_rows=20", "--set", "cluster.rows_per_fragment=40")
    arguments = ("embed", manifest, table, *HERE, *TWINS, *LOOPBACK, *sizes, "--json")
    image_server.hold_from(110)
    process = start(*arguments)
    image_server.wait_for_hold()
    process.send_signal(signal.SIGINT)
    ended = end(process)
    assert ended.code == 75, ended.err
    published = committed_uris(table)
    assert len(published) < 110
    image_server.forget()
    again = pixlake_here(*arguments)
    assert (again.code, again.json["status"]) == (0, "complete"), again.err
    assert again.json["embedded_now"] == 200 - len(published)
    assert not published & set(image_server.requested)
    audit(table, expected, columns=TWIN_COLUMNS)


@pytest.mark.ray
@pytest.mark.slow
def test_on_ray_pixels_of_several_sizes_go_from_one_pool_to_the_next(made: dict[str, Any], tmp_path: Path) -> None:
    stages = (
        "[{name: preprocess, operators: [fetch, decode], num_actors: 1},"
        "{name: embed, operators: [embed, normalize], num_actors: 1}]"
    )
    images, table = made["folder"] / "images", f"{tmp_path}/lake/photos"
    sets = (
        "--set",
        "cluster.executor=ray",
        "--set",
        f"cluster.stages={stages}",
        "--set",
        "cluster.block_rows=8",
        "--json",
    )
    ended = pixlake("embed", str(images), table, *TWO, *sets)
    assert ended.code == 0, ended.err
    assert {name: stage["load_seconds"] > 0 for name, stage in ended.json["stages"].items()} == {
        "preprocess": True,
        "embed": True,
        "write": False,
    }
    there = {row["uri"]: row for row in held(made["tables"]["both"]).to_pylist()}
    rows = held(table).to_pylist()
    assert len(rows) == 20
    for row in rows:
        assert row["vector_null"] == there[row["uri"]]["vector_null"]
        np.testing.assert_allclose(row["vector_vit"], there[row["uri"]]["vector_vit"], atol=1e-3)
