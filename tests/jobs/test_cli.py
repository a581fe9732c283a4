"""The command as a user types it: exit codes, what goes to stdout, what an error says."""

import json
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple

import pytest

from jobs.cli import PANELS, _guarded, fill_retry_class, main
from made.table import Made
from operators.base.errors import UserError
from servers.s3 import S3Server


class Ended(NamedTuple):
    code: int
    out: str
    err: str


@pytest.fixture
def pixlake(capfd: pytest.CaptureFixture[str]):  # type: ignore[no-untyped-def]
    """Runs the command in this process."""

    def call(*arguments: str) -> Ended:
        with pytest.raises(SystemExit) as ended:
            main(list(arguments))
        out, err = capfd.readouterr()
        return Ended(int(ended.value.code or 0), out, err)

    return call


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["embed"], "Missing argument 'SOURCE'"),
        (["embed", "a.csv"], "Missing argument 'TABLE'"),
        (["embed", "a.csv", "t", "--limit", "0"], "--limit"),
        (["embed", "a.csv", "t", "--nothing"], "No such option"),
        (["emded", "a.csv", "t"], "No such command 'emded'"),
        (
            ["embed", "a.csv", "t", "--set", "cluster.batchsize=3"],
            "cluster.batchsize: unknown key; did you mean 'batch_size'?",
        ),
        (["embed", "a.csv", "t", "--set", "clusters.batch_size=3"], "clusters: unknown key; did you mean 'cluster'?"),
        (["embed", "a.csv", "t", "--set", "cluster.batch_size"], "write it as key.key=value"),
        (
            ["embed", "a.csv", "t", "--set", "cluster.batch_size=many"],
            "cluster.batch_size: Input should be a valid integer, unable to parse string as an integer; or: Input "
            "should be 'auto'",
        ),
        (
            ["embed", "a.csv", "t", "--set", "cluster.num_threads=many"],
            "cluster.num_threads: Input should be a valid integer",
        ),
        (["embed", "a.csv", "t", "--config", "clusters/none"], "none of Pixlake's own: clusters/gpu-cluster"),
        (["embed", "/no/such/list.csv", "/tmp/lake/t", "--model", "null"], "/no/such/list.csv"),
        (["embed", "a.csv", "./lake/t__runs"], "not end in __failures, __deleted, __duplicates, __runs or __artifacts"),
        (["embed", "a.csv", "./lake/t", "--model", "resnet"], "model 'resnet': no such model"),
        (["embed", "a.csv", "./lake/t", "--retry-failed", "lost"], "unexpected extra argument"),
        (["search", "t"], "give at least one --image, --text or --id"),
        (["search", "/no/lake/t", "--id", "x"], "there is none at"),
        (["search", "file://host/lake/t", "--id", "x"], "file URI names the host"),
        (["describe", "/no/lake/t"], "there is none at"),
        (["failures", "/no/lake/t", "--class", "lost"], "error_class: "),
        (["models", "nonesuch"], "model 'nonesuch': no such model"),
    ],
)
def test_bad_usage_exits_2_and_says_what_to_mend(pixlake, arguments, says):  # type: ignore[no-untyped-def]
    ended = pixlake(*arguments)
    assert ended.code == 2
    assert says in " ".join(ended.err.split())
    assert ended.out == ""
    assert "Traceback" not in ended.err


@pytest.mark.s3
@pytest.mark.parametrize(("wrong", "why"), [("KEY_ID", "InvalidAccessKeyId"), ("SECRET", "SignatureDoesNotMatch")])
def test_credentials_that_the_tables_store_refuses_are_bad_configuration(  # type: ignore[no-untyped-def]
    pixlake, s3: S3Server, monkeypatch: pytest.MonkeyPatch, wrong: str, why: str
):
    table = f"s3://{s3.bucket('lake')}/lake/t"
    names = {"KEY_ID": "AWS_ACCESS_KEY_ID", "SECRET": "AWS_SECRET_ACCESS_KEY"}
    for name, value in {**s3.environment, names[wrong]: "c4naryOfTheStore"}.items():
        monkeypatch.setenv(name, value)
    for arguments in (["describe", table], ["embed", "tests", table, "--model", "null"]):
        ended = pixlake(*arguments)
        assert ended.code == 2, ended.err
        assert f"the store refuses the credentials ({why}), which are those of AWS_ACCESS_KEY_ID" in ended.err
        assert "c4nary" not in ended.err


@pytest.mark.parametrize("odd", ["a\x1b[31mred", "a\u202eb", "a\nforged: line", "a\rb"])
def test_names_of_others_neither_colour_nor_forge_lines(pixlake, tmp_path: Path, odd: str):  # type: ignore[no-untyped-def]
    header, settings = tmp_path / "m.csv", tmp_path / "c.yaml"
    header.write_text(f'"{odd}"\nx\n')
    settings.write_text(json.dumps({odd: 1}))
    for arguments in (["embed", header, "./lake/t"], ["embed", "a.csv", "./lake/t", "--config", settings]):
        ended = pixlake(*map(str, arguments))
        assert ended.code == 2
        assert all(each.isprintable() for each in ended.err.splitlines())
        assert ended.err.splitlines()[-1].startswith("pixlake: ")
        assert not any(line.startswith("forged") for line in ended.err.splitlines())


def test_no_arguments_show_the_verbs(pixlake):  # type: ignore[no-untyped-def]
    ended = pixlake()
    assert all(verb in ended.out + ended.err for verb in ("embed", "search", "describe", "failures", "models"))


@pytest.mark.parametrize(
    ("arguments", "filled"),
    [
        (["embed", "s", "t", "--retry-failed"], ["embed", "s", "t", "--retry-failed", "all"]),
        (["embed", "--retry-failed", "s", "t"], ["embed", "--retry-failed", "all", "s", "t"]),
        (["embed", "s", "t", "--retry-failed", "corrupt"], ["embed", "s", "t", "--retry-failed", "corrupt"]),
        (["embed", "s", "t", "--retry-failed", "--json"], ["embed", "s", "t", "--retry-failed", "all", "--json"]),
        (["embed", "s", "t", "--retry-failed=timeout"], ["embed", "s", "t", "--retry-failed=timeout"]),
        (["search", "t"], ["search", "t"]),
    ],
)
def test_retry_failed_may_stand_alone(arguments: list[str], filled: list[str]) -> None:
    assert fill_retry_class(arguments) == filled


@pytest.mark.parametrize(("option", "kept"), [([], "all"), (["corrupt"], "corrupt")])
def test_retry_failed_reaches_the_configuration(pixlake, made: Made, tmp_path: Path, option, kept):  # type: ignore[no-untyped-def]
    ended = pixlake(
        "embed",
        str(made.manifest),
        str(tmp_path / "t"),
        "--model",
        "null",
        "--dry-run",
        "--json",
        "--retry-failed",
        *option,
    )
    assert json.loads(ended.out)["config"]["retry_failed"] == kept


def test_a_dry_run_prints_the_plan(pixlake, made: Made, tmp_path: Path):  # type: ignore[no-untyped-def]
    ended = pixlake("embed", str(made.manifest), str(tmp_path / "t"), "--model", "null", "--dry-run", "--limit", "3")
    assert ended.code == 0
    assert ended.out.startswith(f"source   {made.manifest} (3 rows in 1 shard)\n")
    assert list(tmp_path.iterdir()) == []


def test_json_is_one_object_on_stdout(pixlake, made: Made):  # type: ignore[no-untyped-def]
    """Also of verbs that show on stderr that they take a while."""
    for arguments in (
        ["search", made.table, "--image", str(made.folder / "red.png"), "-k", "2"],
        ["search", made.table, "--id", "red", "--where", "length = 3"],
        ["describe", made.table],
        ["failures", made.table, "--class", "corrupt"],
        ["models"],
        ["models", "null"],
        ["embed", str(made.manifest), made.table, "--model", "null", "--config", str(made.settings)],
    ):
        ended = pixlake(*arguments, "--json")
        assert ended.code == 0, ended.err
        assert isinstance(json.loads(ended.out), dict)


def test_the_same_without_json_is_for_a_person(pixlake, made: Made):  # type: ignore[no-untyped-def]
    assert "red.png  red\n" in pixlake("search", made.table, "--id", "red").out
    assert "5 vectors, 2 failures" in pixlake("describe", made.table).out
    assert "not_found 1" in pixlake("failures", made.table).out
    assert "efficientnet-lite0" in pixlake("models").out


def test_a_failed_search_with_json_leaves_stdout_empty(pixlake, made: Made):  # type: ignore[no-untyped-def]
    ended = pixlake("search", made.table, "--text", "a cat", "--json")
    assert (ended.code, ended.out) == (2, "")
    assert "pixlake: model 'null' has no text tower" in ended.err


def test_an_unknown_error_keeps_its_traceback(capsys: pytest.CaptureFixture[str]) -> None:
    def raises(error: BaseException) -> None:
        raise error

    assert _guarded(lambda: raises(UserError("mend this"))) == 2
    assert capsys.readouterr().err == "pixlake: mend this\n"
    with pytest.raises(ZeroDivisionError):
        _guarded(lambda: raises(ZeroDivisionError()))


@pytest.mark.parametrize("before", ["default_int_handler", "SIG_IGN"])
@pytest.mark.parametrize("swallowed", [False, True])
def test_ctrl_c_in_a_verb_exits_75(swallowed: bool, before: str) -> None:
    code = (
        "import os, signal, sys, jobs.models, jobs.cli\n"
        # A shell starts what runs in the background with SIGINT ignored: `timeout -s INT`, `kill -INT` are meant.
        f"signal.signal(signal.SIGINT, signal.{before})\n"
        "def stopped(config):\n"
        "    try:\n"
        "        os.kill(os.getpid(), signal.SIGINT)\n"
        "    except KeyboardInterrupt:\n"
        f"        if not {swallowed}:\n"
        "            raise\n"
        "    raise RuntimeError('half done')\n"
        "jobs.models.run = stopped\n"
        "sys.argv = ['pixlake', 'models']\n"
        "jobs.cli.main()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 75
    assert done.stderr == "pixlake: interrupted\n"


@pytest.mark.parametrize(("verb", "code"), [("models", 0), ("describe", 2)])
def test_nothing_is_torn_down_that_could_abort_the_process_when_all_is_done(verb: str, code: int) -> None:
    """What was registered to be done at the end is done; native libraries are left alone."""
    program = (
        "import atexit, sys, jobs.cli\n"
        "class Torn:\n"
        "    def __del__(self): print('torn down', file=sys.stderr)\n"
        "kept = Torn()\n"
        "sys.argv = ['pixlake', *sys.argv[1:]]\n"
        "jobs.cli.main()"
    )
    done = subprocess.run([sys.executable, "-c", program, verb], capture_output=True, text=True, check=False)
    assert done.returncode == code
    assert "torn down" not in done.stderr
    assert ("efficientnet-lite0" in done.stdout) == (code == 0)


def test_the_version_is_that_of_the_package(pixlake) -> None:  # type: ignore[no-untyped-def]
    ended = pixlake("--version")
    assert (ended.code, ended.out, ended.err) == (0, f"pixlake {version('pixlake')}\n", "")


def test_help_lists_each_verb_once_under_what_it_is_for_and_cuts_no_sentence(pixlake) -> None:  # type: ignore[no-untyped-def]
    text = pixlake("--help").out
    listed = [line.split()[0] for line in text.splitlines() if line.startswith("  ") and line[2:3].isalpha()]
    verbs = [verb.__name__.replace("_", "-") for verbs in PANELS.values() for verb in verbs]
    assert [name for name in listed if name in verbs] == verbs
    assert [panel for panel in PANELS if f"\n{panel}:\n" not in text] == []
    assert "..." not in text.partition("ARGS]...")[2]
