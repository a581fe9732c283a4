"""The examples of docs/nightly.md, as far as they can be checked without the systems that run them."""

import re
import shlex
import shutil
import subprocess
import sys
from configparser import RawConfigParser
from pathlib import Path

import jsonschema
import pytest
import typer.main
import yaml

from jobs.cli import app
from jobs.config.load import load_config
from jobs.nightly import NightlyConfig
from jobs.nights.report import EXIT_STATUS
from jobs.nights.steps import STEPS
from made.ray_jobs import RAY_JOB

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs" / "nightly.md").read_text()
COMMAND = typer.main.get_command(app).commands["nightly"]  # type: ignore[attr-defined]


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)


def understood(command: str) -> None:
    """The words after `pixlake` are ones that the command line takes."""
    words = shlex.split(command.partition(" >> ")[0])
    assert words[0].rpartition("/")[2] == "pixlake"
    assert words[1] == "nightly"
    COMMAND.make_context("nightly", words[2:])


def test_the_units_are_what_systemd_takes(tmp_path: Path) -> None:
    for block in blocks("ini"):
        name = block.partition("\n")[0].rpartition("/")[2]
        # The program must be there to be verified.
        unit = block.replace("/opt/pixlake/bin/pixlake", str(Path(sys.executable).with_name("pixlake")))
        (tmp_path / name).write_text(unit)
    service, timer = tmp_path / "pixlake-photos.service", tmp_path / "pixlake-photos.timer"
    read = RawConfigParser(strict=True)
    read.optionxform = str  # type: ignore[assignment, method-assign]
    read.read([service])
    understood(read["Service"]["ExecStart"])
    assert read["Service"]["RestartPreventExitStatus"] == f"2 {EXIT_STATUS['exceeded']}"
    read.read([timer])
    assert read["Timer"]["OnCalendar"]
    if shutil.which("systemd-analyze"):
        ended = subprocess.run(
            ["systemd-analyze", "verify", "--man=no", service, timer], capture_output=True, text=True, check=False
        )
        ours = [line for line in (ended.stdout + ended.stderr).splitlines() if "pixlake" in line]
        assert (ended.returncode, ours) == (0, [])


def test_the_line_of_cron_has_its_fields() -> None:
    [line] = blocks("cron")
    minute, hour, day, month, weekday, user, command = line.strip().split(" ", 6)
    assert 0 <= int(minute) < 60
    assert 0 <= int(hour) < 24
    assert (day, month, weekday) == ("*", "*", "*")
    assert re.fullmatch(r"[a-z]+", user)
    assert "%" not in command, "a line break to cron"
    understood(command)


def test_the_ray_job_is_one_of_kuberays() -> None:
    [block] = blocks("yaml")
    job = yaml.safe_load(block)
    jsonschema.validate(job, RAY_JOB)
    understood(job["spec"]["entrypoint"])
    from importlib.metadata import version

    assert job["spec"]["rayClusterSpec"]["rayVersion"].rpartition(".")[0] == version("ray").rpartition(".")[0]
    job["spec"]["entryPoint"] = job["spec"].pop("entrypoint")
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(job, RAY_JOB)


def test_the_dag_is_python_whose_command_is_understood() -> None:
    """By Airflow itself in `make airflow`."""
    [block] = blocks("python")
    compile(block, "dag.py", "exec")
    [command] = re.findall(r'bash_command="(.*)"', block)
    understood(command.replace("{{ ds }}", "2026-11-28"))


def test_the_example_of_a_configuration_loads() -> None:
    config = load_config(NightlyConfig, files=["jobs/nightly"], base={})
    assert config.upkeep is not None
    assert config.upkeep.drop_tags
    shown = NightlyConfig(source=config.source, table=config.table, cluster=config.cluster)
    same = ("retries", "refresh", "gates", "drift")
    assert [getattr(config, name) for name in same] == [getattr(shown, name) for name in same]


def test_every_step_section_and_exit_code_is_explained() -> None:
    for name in STEPS:
        assert f"| `{name}` |" in PAGE
    for code in {*EXIT_STATUS.values(), 2}:
        assert f"| {code} |" in PAGE
