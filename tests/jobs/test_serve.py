"""`pixlake serve` as a process: its line, its end, and what it refuses before it listens."""

import http.client
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from jobs.serve import SHORTEST_TOKEN, TOKEN, ServeConfig, Server, _warm_up
from made.table import Made
from operators.base.errors import UserError

PIXLAKE = Path(sys.executable).with_name("pixlake")


@pytest.mark.parametrize("number", [signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.slow)])
def test_it_says_where_it_is_and_ends_when_it_is_told_to(made: Made, number: signal.Signals) -> None:
    command = [PIXLAKE, "serve", made.table, "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        line = next(line for line in process.stderr if "http://" in line)
        connection = http.client.HTTPConnection(line.rpartition("http://")[2].strip().rstrip("/"), timeout=30)
        connection.request("GET", "/")
        assert connection.getresponse().status == 200
        process.send_signal(number)
        out, said = process.communicate(timeout=30)
    assert (process.returncode, out) == (0, "")
    assert said.splitlines()[-1] == "ended"
    assert "Traceback" not in said


def test_a_signal_before_it_answers_ends_it_as_cleanly(made: Made) -> None:
    server = Server(ServeConfig(table=made.table, port=0))
    with server.heeding_signals():
        os.kill(os.getpid(), signal.SIGTERM)
        server.run()
    assert server.is_stopped


def test_a_server_that_ends_says_nothing_of_a_model_that_it_was_loading(
    made: Made, capsys: pytest.CaptureFixture[str]
) -> None:
    server = Server(ServeConfig(table=made.table, port=0))
    server.answers.uploads.close()
    _warm_up(server)
    assert "the model cannot be loaded" in capsys.readouterr().err
    server.stop()
    server.run()
    _warm_up(server)
    assert capsys.readouterr().err == ""


def test_other_machines_are_let_in_by_a_token_alone(
    made: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(TOKEN, raising=False)
    with pytest.raises(UserError, match="needs a token"):
        Server(ServeConfig(table=made.table, port=0, host="0.0.0.0"))
    monkeypatch.setenv(TOKEN, "x" * (SHORTEST_TOKEN - 1))
    with pytest.raises(UserError, match=f"{SHORTEST_TOKEN} printable ASCII characters"):
        ServeConfig(table=made.table, host="0.0.0.0").token()
    (tmp_path / "token").write_text("y" * SHORTEST_TOKEN + "\n")
    config = ServeConfig(table=made.table, host="0.0.0.0", token_file=tmp_path / "token")
    assert config.token() == "y" * SHORTEST_TOKEN
    monkeypatch.setenv(TOKEN, "z" * SHORTEST_TOKEN)
    assert ServeConfig(table=made.table).token() == "z" * SHORTEST_TOKEN
    with pytest.raises(UserError, match="cannot be read"):
        ServeConfig(table=made.table, token_file=tmp_path / "none").token()


def test_an_address_that_is_taken_is_told(made: Made) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(UserError, match=r"cannot listen.*--port 0"):
        Server(ServeConfig(table=made.table, port=taken.getsockname()[1]))


def test_a_table_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="there is none"):
        Server(ServeConfig(table=str(tmp_path / "lake" / "none"), port=0))
