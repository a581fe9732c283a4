"""A cluster that is named and is none: said in words, and soon."""

import os
import socket
import subprocess
import sys
import time

import pytest

from jobs.session.ray_cluster import ray_cluster
from operators.base.errors import UserError
from pipelines.run.cluster import ClusterConfig


def joining(port: int) -> ClusterConfig:
    stages = [{"name": "fetch", "operators": ["fetch"]}]
    return ClusterConfig.model_validate({"stages": stages, "address": f"127.0.0.1:{port}"})


def test_where_nobody_listens_that_is_said_at_once() -> None:
    """Ray itself asks for minutes."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    started = time.monotonic()
    with (
        pytest.raises(UserError, match=r"no Ray cluster answers there .*refused.*`ray start --head`"),
        ray_cluster(joining(port), (), verbose=False),
    ):
        pass
    assert time.monotonic() - started < 60


def test_who_listens_and_does_not_answer_is_asked_once() -> None:
    """Ray asks 20 times, here 10 s each. In a process of its own: so short a patience is read once, by Ray's C++."""
    code = (
        "import sys\n"
        "from jobs.session.ray_cluster import ray_cluster\n"
        "from operators.base.errors import UserError\n"
        "from pipelines.run.cluster import ClusterConfig\n"
        "try:\n"
        "    ray_cluster(ClusterConfig.model_validate_json(sys.argv[1]), (), verbose=False).__enter__()\n"
        "except UserError as error:\n"
        "    print(error)"
    )
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        config = joining(deaf.getsockname()[1]).model_dump_json()
        environment = {**os.environ, "RAY_py_gcs_connect_timeout_s": "1"}
        command = [sys.executable, "-c", code, config]
        done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=120)
    assert "no Ray cluster answers there (Timed out" in done.stdout, done.stderr
    assert "`ray start --head`" in done.stdout
