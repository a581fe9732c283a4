"""The job for KubeRay in `conf/clusters/kuberay/`, as far as it can be checked without Kubernetes."""

import shlex
from importlib.metadata import version
from pathlib import Path

import jsonschema
import typer.main
import yaml

from jobs.cli import app
from jobs.config.embed import EmbedConfig
from jobs.config.load import CONF_DIR, load_config
from made.ray_jobs import RAY_JOB

COMMAND = typer.main.get_command(app).commands["embed"]  # type: ignore[attr-defined]


def test_the_embed_job_is_what_kuberay_and_pixlake_take(tmp_path: Path) -> None:
    values, job = yaml.safe_load_all((CONF_DIR / "clusters/kuberay/embed.yaml").read_text())
    jsonschema.validate(job, RAY_JOB)
    spec = job["spec"]["rayClusterSpec"]
    assert spec["rayVersion"] == version("ray")
    program, verb, *words = shlex.split(job["spec"]["entrypoint"])
    assert (program, verb) == ("pixlake", "embed")
    given = COMMAND.make_context("embed", words).params
    pod = spec["headGroupSpec"]["template"]["spec"]
    [mount] = pod["containers"][0]["volumeMounts"]
    assert pod["volumes"] == [{"name": mount["name"], "configMap": {"name": values["metadata"]["name"]}}]
    [(name, text)] = values["data"].items()
    assert given["config"] == [f"{mount['mountPath']}/{name}"]
    (tmp_path / name).write_text(text)
    base = {"source": {"uri": given["source"]}, "table": given["table"]}
    config = load_config(EmbedConfig, files=[str(tmp_path / name)], base=base)
    assert config.cluster.address == "auto"
