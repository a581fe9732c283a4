"""The one model of `pixlake embed`'s configuration, its defaults, and the values in conf/."""

import json
import pickle
from pathlib import Path
from typing import Any

import pytest
import yaml

from jobs.config.embed import EmbedConfig, load
from jobs.config.load import CONF_DIR, ConfigError
from jobs.config.model_names import conf_models
from operators.models.spec import parse_model_name
from operators.regions.options import BoxesOptions, GridOptions

BASE: dict[str, Any] = {"source": {"uri": "list.csv"}, "table": "./lake/t"}
FILES = sorted(path.relative_to(CONF_DIR).with_suffix("").as_posix() for path in CONF_DIR.rglob("*.yaml"))


def of(*sets: str, files: tuple[str, ...] = (), **base: Any) -> EmbedConfig:
    return load(files=files, sets=sets, base={**BASE, **base})


def name_of(config: EmbedConfig) -> str:
    return config.columns["vector"].name


def precision_of(config: EmbedConfig) -> str:
    return config.precision_of(config.columns["vector"])


@pytest.mark.parametrize("name", sorted({*FILES} - {"jobs/nightly", "clusters/kuberay/embed"}))
def test_every_file_of_conf_is_a_valid_configuration(name: str) -> None:
    """But for a night's, which tests/jobs/nights/test_nightly_page.py reads, and KubeRay's (test_kuberay.py)."""
    config = of(files=(name,))
    stages = config.cluster.stages
    assert [o for s in stages for o in s.operators] == ["fetch", "decode", "embed", "normalize"]
    block_rows = config.cluster.block_rows
    assert block_rows == "auto" if config.cluster.device == "cpu" else block_rows % config.cluster.batch_size == 0
    assert (config.cluster.device == "cuda") == any(stage.num_gpus for stage in stages)
    [model] = config.columns.values()
    parse_model_name(model.name)


def test_the_clusters_that_are_promised_are_there() -> None:
    assert {"clusters/local", "clusters/one-gpu-node", "clusters/gpu-cluster"} <= set(FILES)


@pytest.mark.parametrize("name", conf_models())
def test_a_model_of_conf_goes_by_its_short_name(name: str) -> None:
    written = yaml.safe_load((CONF_DIR / "models" / f"{name}.yaml").read_text())["model"]["name"]
    assert name_of(of(model={"name": name})) == written
    assert name_of(of(f"model.name={name}")) == written
    assert of(models={"other": {"name": name}}).models["other"].name == written


def test_what_the_user_says_of_a_conf_model_stays() -> None:
    config = of(model={"name": "resnet50", "precision": "bfloat16"})
    assert (name_of(config), precision_of(config)) == ("timm:resnet50.a1_in1k", "bfloat16")


def test_the_default_is_the_bundled_model_on_this_machine() -> None:
    config = of()
    local = yaml.safe_load((CONF_DIR / "clusters" / "local.yaml").read_text())["cluster"]
    assert name_of(config) == "efficientnet-lite0"
    assert config.cluster.model_dump(exclude_unset=True, mode="json") == json.loads(json.dumps(local))


@pytest.mark.parametrize(
    ("names", "says"),
    [
        (("preprocess", "preprocess"), "the name 'preprocess' collides with stage 'preprocess'; rename the stage"),
        (("pool_1", "pool1"), "the name 'pool1' collides with stage 'pool_1'"),
        (("preprocess", "write"), "the name 'write' collides with the pool that writes the table"),
    ],
)
def test_stages_that_would_share_a_name_are_refused(names: tuple[str, str], says: str) -> None:
    stages = [{"name": name, "operators": ["fetch"]} for name in names]
    with pytest.raises(ConfigError) as error:
        of(cluster={"stages": stages})
    assert "cluster.stages" in str(error.value)
    assert says in str(error.value)


def test_the_signature_of_a_source_is_used_but_not_stored() -> None:
    uri = "https://bucket.example/list.parquet?part=1&X-Amz-Signature=abcdef0123456789&X-Amz-Expires=60"
    config = of(source={"uri": uri})
    assert config.model_dump(mode="json")["source"]["uri"] == "https://bucket.example/list.parquet?part=1"
    assert "abcdef0123456789" not in config.model_dump_json()
    assert config.source.uri == pickle.loads(pickle.dumps(config)).source.uri == uri
    assert config.source.model_copy(update={"limit": 1}).uri == uri


def test_single_values_override_the_default_cluster() -> None:
    config = of("cluster.executor=local", "cluster.batch_size=8")
    assert (config.cluster.executor, config.cluster.batch_size) == ("local", 8)
    assert config.cluster.stages == of().cluster.stages


def test_the_batch_can_be_left_to_a_trial() -> None:
    assert of("cluster.batch_size=auto").cluster.batch_size == "auto"


def test_single_values_override_a_cluster_file() -> None:
    config = of("cluster.batch_size=64", files=("clusters/gpu-cluster",))
    assert (config.cluster.batch_size, config.cluster.address, config.cluster.num_writers) == (64, "auto", 8)


@pytest.mark.parametrize(
    ("sets", "expected"),
    [
        ([], "float32"),
        (["cluster.device=cuda"], "bfloat16"),
        (["cluster.device=cuda", "model.precision=float16"], "float16"),
        (["model.precision=bfloat16"], "bfloat16"),
    ],
)
def test_auto_precision_follows_the_clusters_device(sets: list[str], expected: str) -> None:
    assert precision_of(of(*sets)) == expected


def test_a_file_of_the_users_includes_ours(tmp_path: Path) -> None:
    (tmp_path / "job.yaml").write_text(
        "include: [clusters/one-gpu-node, models/clip-vit-b-32]\ncluster: {batch_size: 16}\nfetch: {max_attempts: 2}\n"
    )
    config = of(files=(str(tmp_path / "job.yaml"),))
    assert (config.cluster.batch_size, config.cluster.block_rows, config.fetch.max_attempts) == (16, 512, 2)
    assert name_of(config) == "open_clip:ViT-B-32/laion2b_s34b_b79k"


def test_secrets_are_masked_wherever_a_configuration_is_stored() -> None:
    config = of(
        storage={"key": "AKIAKEY", "secret": "s3cr3t", "token": "t0k3n"},
        table_storage={"key": "AKIAOTHER", "secret": "0th3r"},
    )
    stored = json.dumps(config.model_dump(mode="json")) + repr(config)
    for secret in ("s3cr3t", "t0k3n", "0th3r", "AKIAKEY", "AKIAOTHER"):
        assert secret not in stored
    assert config.storage.secret is not None
    assert config.storage.secret.get_secret_value() == "s3cr3t"


def test_the_table_is_stored_with_the_images_options_unless_it_has_its_own() -> None:
    images = {"key": "k", "secret": "s"}
    assert of(storage=images).storage_of_table == of(storage=images).storage
    assert of(storage=images, table_storage={"anon": True}).storage_of_table.anon


@pytest.mark.parametrize(
    ("sets", "says"),
    [
        (["model.sha256=abc"], "model.sha256: "),
        (["model.precision=int8"], "model.precision"),
        (["overwrite=3"], "overwrite: "),
        (["retry_failed=lost"], "retry_failed"),
        (["source.limits=3"], "source.limits: unknown key; did you mean 'limit'?"),
        (["batch_size=3"], "batch_size: unknown key; did you mean 'cluster.batch_size'?"),
        (["decode.max_pixel=3"], "did you mean 'max_pixels'?"),
        (["cluster.stages=[{name: a, operators: [fetch], cpus: 2}]"], "cluster.stages.0.cpus: unknown key"),
        (["cluster.stages=[]"], "cluster.stages: "),
        (["fetch.schemes=[ftp]"], "unknown schemes ftp"),
        (["storage.key=a"], "key and secret belong together"),
    ],
)
def test_a_wrong_key_or_value_is_named_with_its_path(sets: list[str], says: str) -> None:
    with pytest.raises(ConfigError) as error:
        of(*sets)
    assert says in str(error.value)


def test_what_must_be_given_is_said() -> None:
    with pytest.raises(ConfigError, match=r"source: must be given\n  table: must be given"):
        load(base={})


def test_several_models_have_a_column_each_and_settings_of_their_own(tmp_path: Path) -> None:
    (tmp_path / "two.yaml").write_text(
        "models:\n  clip: {name: clip-vit-b-32}\n  tokens: {name: dinov2-vit-s-14, pooling: cls, layer: -2}\n"
    )
    config = of("models.clip.precision=bfloat16", files=(str(tmp_path / "two.yaml"),))
    assert config.model is None
    assert list(config.columns) == ["vector_clip", "vector_tokens"]
    clip, tokens = config.columns.values()
    assert (clip.name, config.precision_of(clip)) == ("open_clip:ViT-B-32/laion2b_s34b_b79k", "bfloat16")
    assert (tokens.pooling, tokens.layer, config.precision_of(tokens)) == ("cls", -2, "float32")
    assert tokens.spec().pooling == "cls"


def test_models_of_the_command_line_stand_for_those_of_files(tmp_path: Path) -> None:
    (tmp_path / "one.yaml").write_text("model: {name: clip-vit-b-32, pooling: cls}\n")
    (tmp_path / "two.yaml").write_text("models: {a: {name: resnet50}, b: {name: clip-vit-b-32}}\n")
    one, two = str(tmp_path / "one.yaml"), str(tmp_path / "two.yaml")
    several = {"c": {"name": "resnet50"}, "d": {"name": "efficientnet-lite0"}}
    assert list(of(files=(one,), models=several).columns) == ["vector_c", "vector_d"]
    assert list(of(files=(two,), models=several).columns) == ["vector_c", "vector_d"]
    assert name_of(of(files=(two,), model={"name": "efficientnet-lite0"})) == "efficientnet-lite0"
    alone = of(files=(one,), model={"name": "resnet50"}).columns["vector"]
    assert (alone.name, alone.pooling) == ("timm:resnet50.a1_in1k", "default")


@pytest.mark.parametrize(
    ("sets", "says"),
    [
        (["model.name=resnet50"], "model and models are both given (models: clip)"),
        (["models.clip.poling=cls"], "models.clip.poling: unknown key; did you mean 'pooling'?"),
        (["models.Clip.name=resnet50"], "use lower case letters, digits and underscores"),
        (["models.vector_x.name=resnet50"], "leave out vector_"),
        (["models.clop.pooling=cls"], "models.clop names no model (models.clop.name); named are: clip"),
    ],
)
def test_models_that_cannot_be_told_apart_or_are_misspelt_are_refused(sets: list[str], says: str) -> None:
    with pytest.raises(ConfigError) as error:
        of("models.clip.name=clip-vit-b-32", *sets)
    assert says in str(error.value)


@pytest.mark.parametrize(
    ("sets", "says"),
    [
        (["kind=grid", "row=2", "columns=2"], "regions.row: unknown key; did you mean 'rows'?"),
        (["kind=grid", "columns=2"], "regions.rows: must be given"),
        (["rows=2"], "regions.kind: must be given"),
        (["kind=gird"], "regions.kind: 'gird' is none of 'grid', 'tiles', 'boxes', "),
        (["kind=grid", "rows=9", "columns=9"], "regions: 81 regions of every image, more than max_regions = 64"),
        (["kind=boxes", "column=faces"], "reads the manifest column faces, which source.keep does not name; set "),
        (["kind=boxes", "column=faces", "labels=who"], "set source.keep=[label,faces,who]"),
    ],
)
def test_regions_that_are_not_said_right_are_refused_by_the_key_that_a_user_writes(sets: list[str], says: str) -> None:
    with pytest.raises(ConfigError) as error:
        of("source.keep=[label]", *(f"regions.{each}" for each in sets))
    assert says in str(error.value)


def test_regions_that_are_cut_out_need_images_in_their_full_size() -> None:
    with pytest.raises(ConfigError, match=r"shrink_on_load: regions \(grid\) are cut out of images in their full"):
        of("decode.shrink_on_load=true", "regions.kind=grid", "regions.rows=2", "regions.columns=2")
    assert of("decode.shrink_on_load=true", "regions.kind=patches", "regions.cells=2").decode.shrink_on_load


def test_regions_are_one_kind_with_its_own_settings() -> None:
    assert of().regions is None
    grid = of("regions.kind=grid", "regions.rows=2", "regions.columns=3", "regions.layout=multivector").regions
    assert grid == GridOptions(kind="grid", rows=2, columns=3, layout="multivector")
    boxes = of("regions.kind=boxes", "regions.column=faces", "source.keep=[faces]").regions
    assert boxes == BoxesOptions(kind="boxes", column="faces")


def test_a_patience_that_a_stall_would_cut_off_is_warned_of() -> None:
    assert of().warning is None
    assert of("fetch.retry_s=869").warning is None
    said = of("fetch.retry_s=870").warning
    assert said is not None
    assert said.startswith("a host that is away is waited for up to 900 s (fetch.retry_s 870 + fetch.object_s 30), but")
    assert of("cluster.no_progress_timeout_s=200").warning is not None
