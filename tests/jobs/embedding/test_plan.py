"""The dry run: what it shows, that it starts and writes nothing, and what it refuses."""

import json
import os
import shlex
import shutil
from pathlib import Path
from typing import Any

import pytest

from jobs.add_column import AddColumnConfig
from jobs.config.load import load_config
from jobs.config.model_names import ModelConfig
from jobs.embed import load, plan, run
from made.manifests import manifest_of
from made.table import Made
from operators.api.options import ApiError
from operators.base.errors import PlanError, UserError
from operators.storage.stores import NO_OPTIONS
from pipelines.manifests.manifest import SourceConfig
from pipelines.space.field import SpaceError


def planned(source: Path, table: Path | str, *sets: str, **base: Any):  # type: ignore[no-untyped-def]
    whole = {"source": {"uri": str(source)}, "table": str(table), "model": {"name": "null"}, **base}
    return plan(load(sets=sets, base=whole))


def tree(folder: Path) -> dict[str, int]:
    return {str(path): path.stat().st_mtime_ns for path in folder.rglob("*")}


def test_it_shows_all_that_is_decided(made: Made, tmp_path: Path) -> None:
    sets = ("source.keep=[length]", "cluster.num_cpus=3")
    text = planned(made.manifest, tmp_path / "lake" / "t", *sets).text()
    for line in (
        f"source   {made.manifest} (7 rows in 1 shard)",
        f"table    {tmp_path / 'lake' / 't'} (will be created)",
        "model    vector: null (192-d, 0 parameters, float32)",
        "executor local (in this process), for about 0 s of work on this machine; Ray is started for more than 300; "
        "blocks of 8 rows",
        "stage    embed: fetch -> decode -> embed -> normalize (1 actor, 3 CPUs)",
        "column   length: int32",
        "column   vector: fixed_size_list<item: halffloat>[192]",
        "space    vector: normalize.l2: yes",
        "space    vector: normalize.dtype: float16",
        "digest   vector: ",
    ):
        assert line in text
    assert text.count("column   ") > 10
    on_ray = planned(made.manifest, tmp_path / "lake" / "t", *sets, "cluster.executor=ray").text()
    assert "stage    embed: fetch -> decode -> embed -> normalize (3 actors, each 1 CPU)" in on_ray


def test_two_stages_with_gpus_are_shown_with_their_resources(made: Made, tmp_path: Path) -> None:
    config = load(
        files=["clusters/gpu-cluster"],
        base={"source": {"uri": str(made.manifest)}, "table": str(tmp_path / "t"), "model": {"name": "null"}},
    )
    shown = plan(config).to_dict()
    assert [(s["name"], s["operators"]) for s in shown["stages"]] == [
        ("preprocess", ["fetch", "decode"]),
        ("embed", ["embed", "normalize"]),
    ]
    assert shown["stages"][1]["resources"] == "as many actors as fit, each 0.1 CPUs, 1 GPU"
    assert shown["models"]["vector"]["space"]["embed"]["precision"] == "bfloat16"


def test_nothing_is_written(made: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "cwd").mkdir()
    monkeypatch.chdir(tmp_path / "cwd")
    before = tree(made.folder)
    planned(made.manifest, "lake/new")
    planned(made.folder, "lake/new")
    planned(made.manifest, made.table, "overwrite=2", "source.keep=[length]")
    assert os.listdir() == []
    assert tree(made.folder) == before


def test_an_existing_table_is_shown_as_such(made: Made) -> None:
    shown = planned(made.manifest, made.table).to_dict()
    assert shown["table_exists"]
    assert shown["models"]["vector"]["space_digest"] == made.report.space_digests["vector"]
    assert json.loads(json.dumps(shown)) == shown


def test_a_listing_is_not_counted_to_its_end(tmp_path: Path) -> None:
    (tmp_path / "many.txt").write_text("".join(f"s3://b/{n}.jpg\n" for n in range(3000)))
    shown = planned(tmp_path / "many.txt", tmp_path / "t", "source.rows_per_shard=500")
    assert shown.to_dict()["source"]["rows"] is None
    assert "many.txt (not counted)" in shown.text()


def test_a_short_one_is_counted_and_has_the_digest_of_the_run(tmp_path: Path) -> None:
    (tmp_path / "few.txt").write_text("".join(f"{n}.jpg\n" for n in range(30)))
    shown = planned(tmp_path / "few.txt", tmp_path / "t").to_dict()["source"]
    assert (shown["rows"], shown["shards"]) == (30, 1)
    config = SourceConfig(uri=str(tmp_path / "few.txt"))
    assert shown["digest"] == manifest_of(config, NO_OPTIONS, str(tmp_path / "work")).digest


def test_another_space_than_the_tables_is_refused(made: Made) -> None:
    with pytest.raises(SpaceError, match=r'normalize.dtype: the table has "float16", this run has "float32"'):
        planned(made.manifest, made.table, "normalize.dtype=float32")
    assert planned(made.manifest, made.table, "normalize.dtype=float32", "overwrite=1").text()


def test_another_model_than_the_tables_is_refused_with_the_commands_that_take_it_in(made: Made) -> None:
    model = {"name": "timm:test_vit/random-5", "pooling": "gem"}
    with pytest.raises(SpaceError) as refused:
        planned(made.manifest, made.table, model=model)
    named = "--model timm:test_vit/random-5 --set 'model.pooling=\"gem\"'"
    assert str(refused.value).splitlines()[-2:] == [
        f"  For this model in a column of its own, beside what is there: pixlake add-column {made.table} {named} "
        "--name test_vit",
        f"  To move the table to this model, measured first: pixlake swap {made.table} {named}",
    ]
    # As a shell would take it apart.
    sets = shlex.split(named)[3:]
    assert load_config(AddColumnConfig, sets=sets, base={"table": str(made.table)}).model == ModelConfig(
        name="efficientnet-lite0", pooling="gem"
    )


def test_a_second_model_under_a_name_is_refused_with_the_command_that_adds_it(made: Made, tmp_path: Path) -> None:
    table = shutil.copytree(f"{made.table}.lance", tmp_path / "my lake" / "t.lance").with_suffix("")
    with pytest.raises(SpaceError, match="its vector columns are vector; this run would write vector_a") as refused:
        planned(made.manifest, table, model=None, models={"a": {"name": "null"}})
    command = str(refused.value).splitlines()[-1].partition("pixlake ")[2]
    assert shlex.split(command) == ["add-column", str(table), "--model", "null", "--name", "a"]


def test_other_settings_than_the_models_are_not_met_with_another_column(made: Made) -> None:
    with pytest.raises(SpaceError) as refused:
        planned(made.manifest, made.table, "normalize.dtype=float32")
    assert "add-column" not in str(refused.value)


def test_a_stage_without_an_operator_is_refused(made: Made, tmp_path: Path) -> None:
    with pytest.raises(PlanError, match=r"cluster\.stages runs fetch, embed"):
        planned(made.manifest, tmp_path / "t", "cluster.stages=[{name: a, operators: [fetch, embed]}]")


@pytest.mark.parametrize(
    ("sets", "says"),
    [
        (["source.keep=[lengths]"], "lengths"),
        (["source.uri_column=address"], "address"),
        (["model.name=timm:nothing/random-0"], "timm has no architecture 'nothing'"),
    ],
)
def test_a_wrong_column_or_model_is_found_before_anything_starts(
    made: Made, tmp_path: Path, sets: list[str], says: str
) -> None:
    with pytest.raises(UserError, match=says):
        planned(made.manifest, tmp_path / "t", *sets)
    assert list(tmp_path.iterdir()) == []


VERTEX = "vertex:multimodalembedding@001"
API = {"endpoint": "http://127.0.0.1:1", "project": "demo"}
TWO = {"model": None, "models": {"a": {"name": f"{VERTEX}/128"}, "b": {"name": f"{VERTEX}/256"}}}


def test_a_spend_cap_is_of_one_api_model(made: Made, tmp_path: Path) -> None:
    capped = {**API, "max_spend_usd": 1.0}
    with pytest.raises(ApiError, match=r"max_spend_usd with 2 API models.*vector_a, vector_b.*one after the other"):
        planned(made.manifest, tmp_path / "t", **TWO, api=capped)
    assert planned(made.manifest, tmp_path / "t", **TWO, api=API)
    beside = {"model": None, "models": {"a": {"name": VERTEX}, "b": {"name": "null"}}}
    assert planned(made.manifest, tmp_path / "t", **beside, api=capped)


def test_no_project_is_refused_before_the_source_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GOOGLE_CLOUD_PROJECT", raising=False)
    with pytest.raises(ApiError, match=r"api\.project"):
        planned(tmp_path / "not-there", tmp_path / "t", model={"name": VERTEX}, api={"endpoint": API["endpoint"]})


def test_a_rate_at_which_no_block_ends_shows_in_the_dry_run(made: Made, tmp_path: Path) -> None:
    with pytest.raises(PlanError, match="requests a minute"):
        planned(made.manifest, tmp_path / "t", model={"name": VERTEX}, api={**API, "requests_per_minute": 1.0})


@pytest.mark.parametrize("precision", ["bfloat16", "float32"])
def test_the_fastest_precision_is_that_of_the_table_where_there_is_one(
    made: Made, tmp_path: Path, precision: str
) -> None:
    model = {"name": "timm:test_vit/random-0", "emulate": True}
    base: dict[str, Any] = {"source": {"uri": str(made.manifest)}, "table": str(tmp_path / "lake" / "t")}
    base["cluster"] = {"executor": "local"}
    run(load(base=base | {"model": model | {"precision": precision}}))
    shown = plan(load(base=base | {"model": model | {"precision": "fastest"}})).to_dict()
    assert shown["models"]["vector"]["space"]["embed"]["precision"] == precision
    assert "backend" not in shown["models"]["vector"]["space"]["embed"]


def test_the_fastest_precision_of_a_new_table_is_a_concrete_one(made: Made, tmp_path: Path) -> None:
    model = {"name": "timm:test_vit/random-0", "precision": "fastest"}
    config = load(base={"source": {"uri": str(made.manifest)}, "table": str(tmp_path / "lake" / "t"), "model": model})
    embed = plan(config).to_dict()["models"]["vector"]["space"]["embed"]
    assert embed["precision"] in ("float32", "bfloat16")
    assert embed.get("backend", "torch") in ("torch", "openvino")


def test_of_a_source_that_is_not_counted_the_executor_is_left_open(tmp_path: Path) -> None:
    (tmp_path / "m.csv").write_text("id,uri\n" + "".join(f"i{row},/no/{row}.jpg\n" for row in range(100_000)))
    shown = planned(tmp_path / "m.csv", tmp_path / "t")
    assert not shown.prepared.manifest.complete
    assert "executor local up to about " in shown.text()
    assert shown.to_dict()["executor"]["name"] == "auto"
    limited = planned(tmp_path / "m.csv", tmp_path / "t", "source.limit=50")
    assert "executor local (in this process), for about 0 s of work" in limited.text()
