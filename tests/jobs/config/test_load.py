"""YAML, includes and --set to a model; every mistake named with its path."""

from pathlib import Path

import pytest
from pydantic import BaseModel, ConfigDict

from jobs.config.load import CONF_DIR, ConfigError, load_config, merge, parse_assignment


class Inner(BaseModel):
    model_config = ConfigDict(extra="forbid")
    batch_size: int = 1
    device: str = "cpu"


class Outer(BaseModel):
    model_config = ConfigDict(extra="forbid")
    cluster: Inner = Inner()
    names: list[Inner] = []
    keep: tuple[str, ...] = ()
    table: str


def write(path: Path, text: str) -> str:
    path.write_text(text)
    return str(path)


def test_files_merge_left_to_right_then_base_then_sets(tmp_path: Path) -> None:
    a = write(tmp_path / "a.yaml", "table: a\ncluster: {batch_size: 2, device: a}\n")
    b = write(tmp_path / "b.yaml", "cluster: {batch_size: 3}\n")
    loaded = load_config(Outer, files=[a, b], sets=["cluster.device=z"], base={"table": "base"})
    assert loaded == Outer(table="base", cluster=Inner(batch_size=3, device="z"))


def test_includes_are_merged_before_the_file_and_found_beside_it(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    write(tmp_path / "sub" / "low.yaml", "table: low\ncluster: {batch_size: 7, device: low}\n")
    top = write(tmp_path / "sub" / "top.yaml", "include: [low.yaml]\ncluster: {device: top}\n")
    assert load_config(Outer, files=[top], base={}) == Outer(table="low", cluster=Inner(batch_size=7, device="top"))


def test_an_include_of_itself_is_named(tmp_path: Path) -> None:
    a = write(tmp_path / "a.yaml", "include: [b.yaml]")
    write(tmp_path / "b.yaml", "include: [a.yaml]")
    with pytest.raises(ConfigError, match="includes itself"):
        load_config(Outer, files=[a], base={})


@pytest.mark.parametrize(
    ("sets", "message"),
    [
        (["cluster.batchsize=3"], "cluster.batchsize: unknown key; did you mean 'batch_size'?"),
        (["zebra=3"], "zebra: unknown key; known here: cluster, keep, names, table"),
        (["device=z"], "device: unknown key; known here: cluster, keep, names, table"),
        (["batch_sizes=3"], "batch_sizes: unknown key; known here: "),
        (["keep=label"], "keep: holds a list: write [label] in place of 'label'"),
        (["names=[{device: a}, {devize: b}]"], "names.1.devize: unknown key; did you mean 'device'?"),
        (["cluster.batch_size=many"], "cluster.batch_size: Input should be a valid integer"),
    ],
)
def test_wrong_keys_and_values_are_named_with_their_path(sets: list[str], message: str) -> None:
    with pytest.raises(ConfigError) as error:
        load_config(Outer, sets=sets, base={"table": "t"})
    assert message in str(error.value)


def test_a_missing_value_is_named() -> None:
    with pytest.raises(ConfigError, match="table: must be given"):
        load_config(Outer, base={})


def test_what_is_not_yaml_is_named_with_file_and_line(tmp_path: Path) -> None:
    bad = write(tmp_path / "bad.yaml", "table: [1,\nb: }")
    with pytest.raises(ConfigError, match=r"bad\.yaml: not YAML(.|\n)*line 2"):
        load_config(Outer, files=[bad], base={})
    with pytest.raises(ConfigError, match="must be a mapping"):
        load_config(Outer, files=[write(tmp_path / "list.yaml", "[1, 2]")], base={})


def test_an_unknown_file_lists_what_there_is() -> None:
    with pytest.raises(ConfigError, match="clusters/gpu-cluster"):
        load_config(Outer, files=["clusters/nope"], base={})


def test_assignments() -> None:
    assert parse_assignment("a.b=c") == {"a": {"b": "c"}}
    assert parse_assignment("a=[1, 2]") == {"a": [1, 2]}
    assert parse_assignment("a=s3://b/c=d") == {"a": "s3://b/c=d"}
    assert parse_assignment("a=null") == {"a": None}
    for bad in ("a", "=1", "a..b=1"):
        with pytest.raises(ConfigError, match="write it as"):
            parse_assignment(bad)


def test_merge_keeps_both_sides_as_they_were() -> None:
    low, high = {"a": {"b": 1}}, {"a": {"c": 2}}
    assert merge(low, high) == {"a": {"b": 1, "c": 2}}
    assert (low, high) == ({"a": {"b": 1}}, {"a": {"c": 2}})


def test_pixlakes_own_files_are_found_by_name() -> None:
    assert {p.parent.name for p in CONF_DIR.rglob("*.yaml")} >= {"clusters", "models"}


@pytest.mark.parametrize(
    "value",
    [
        "!!python/object/apply:os.system ['touch {marker}']",
        "!!python/object/apply:subprocess.check_output [['touch', '{marker}']]",
        "!!python/object/new:os.system ['touch {marker}']",
        "!!python/name:os.system",
        "!!python/module:os",
        "!!python/tuple [1, 2]",
    ],
)
def test_yaml_runs_no_code_and_makes_no_objects(tmp_path: Path, value: str) -> None:
    marker = tmp_path / "marker"
    value = value.replace("{marker}", str(marker))
    file = write(tmp_path / "c.yaml", f"table: {value}\n")
    with pytest.raises(ConfigError):
        load_config(Outer, files=[file], base={})
    with pytest.raises(ConfigError):
        load_config(Outer, sets=[f"table={value}"], base={})
    assert not marker.exists()
