"""Secrets planted in every input: nothing that is written, printed or shown in the list of processes has one of them.

What the user's own files say is not looked at, and neither is a manifest as it is read (`NAME__runs/manifests`, and
the `delta` of a refresh), which holds addresses as the user's manifest does: signed ones cannot be fetched otherwise.
"""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import lance
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import s3fs
import yaml

from end_to_end.command import LOCAL, LOOPBACK, RAY, Ended, end, pixlake_here, start
from made.solid_images import png_of
from servers.conditional import Conditional
from servers.s3 import S3Server

CANARY = "c4naryXq"
"""In every planted secret."""
SIGNED = f"X-Amz-Credential={CANARY}key&X-Amz-Signature={CANARY}signature&X-Amz-Security-Token={CANARY}token"


@pytest.fixture
def server() -> Iterator[Conditional]:
    running = Conditional()
    yield running
    running.close()


class Planted:
    """A source with a secret in every place that takes text, and a configuration with the store's own."""

    def __init__(self, folder: Path, server: Conditional, s3: S3Server) -> None:
        self.folder, self.server = folder, server
        self.table = f"{folder}/lake/t"
        self.secrets = [CANARY, s3.secret]
        bucket = s3.bucket("secrets")
        files = s3fs.S3FileSystem(
            key=s3.key, secret=s3.secret, endpoint_url=s3.endpoint_url, client_kwargs={"region_name": s3.region}
        )
        files.pipe(f"{bucket}/a.png", png_of(1))
        port = server.url.rpartition(":")[2]
        good = [server.put(f"{number}.png", png_of(number)) for number in range(2, 6)]
        uris = [
            *(f"{uri}?{SIGNED}&v={number}" for number, uri in enumerate(good)),
            f"{server.url}/none.png?token={CANARY}",
            f"http://user:{CANARY}@127.0.0.1:{port}/2.png",
            f"http://user:{CANARY}@127.0.0.1:{port}/none.png?sig={CANARY}",
            f"http://user:{CANARY}@0x7f.2.3.4.5/",
            f"https://user:{CANARY}@127.0.0.1:1/refused.png",
            f"ftp://user:{CANARY}@127.0.0.1/a.png",
            f"http://u:{CANARY}@[::1/",
            f"s3://{bucket}/a.png",
            f"s3://{bucket}/none.png",
        ]
        self.uris = uris
        self.write(uris)
        self.settings = folder / "own" / "settings.yaml"
        self.settings.write_text(
            yaml.safe_dump(
                {
                    "source": {"id_column": "id", "keep": ["note"]},
                    "storage": s3.storage_options,
                    "fetch": {"allowed_cidrs": ["127.0.0.0/8"], "max_attempts": 1, "retry_s": 0.5},
                    "decode": {"isolate": False},
                    "max_failed": 1,
                }
            )
        )
        self.printed: list[str] = []

    @property
    def manifest(self) -> Path:
        return self.folder / "own" / "m.parquet"

    def write(self, uris: list[str]) -> None:
        self.manifest.parent.mkdir(exist_ok=True)
        notes = [f"https://user:{CANARY}@h/{number}?{SIGNED}" for number in range(len(uris))]
        pq.write_table(pa.table({"uri": uris, "id": uris, "note": notes}), self.manifest)

    def call(self, *arguments: str) -> Ended:
        ended = pixlake_here(*arguments)
        assert "Traceback" not in ended.err
        self.printed += [ended.out, ended.err]
        return ended

    def check(self) -> None:
        """Nothing printed, no file, and no value in a table has a secret."""
        for text in self.printed:
            self._check(text.encode(), "printed")
        for path in self.folder.rglob("*"):
            if path.is_file() and not {"own", "manifests", "delta"} & set(path.parts):
                self._check(path.read_bytes(), str(path))
        for folder in self.folder.rglob("*.lance"):
            if folder.is_dir():
                self._check(str(lance.dataset(str(folder)).to_table().to_pylist()).encode(), str(folder))
                dataset = lance.dataset(str(folder))
                self._check(f"{dataset.metadata} {dataset.schema.metadata} {dataset.schema}".encode(), str(folder))
        for path in self.folder.rglob("*.parquet"):
            if not {"own", "manifests", "delta", "positions"} & set(path.parts):
                self._check(str(pq.read_table(path).to_pylist()).encode(), str(path))

    def _check(self, data: bytes, where: str) -> None:
        for secret in self.secrets:
            at = data.find(secret.encode())
            assert at < 0, (where, data[max(0, at - 200) : at + 100])


@contextmanager
def processes_watched(secrets: list[str]) -> Iterator[list[str]]:
    """Command lines of this machine that have one of the secrets."""
    shown: list[str] = []
    over = threading.Event()

    def watch() -> None:
        while not over.wait(0.02):
            for place in Path("/proc").glob("[0-9]*/cmdline"):
                try:
                    line = place.read_bytes()
                except OSError:
                    continue
                if any(secret.encode() in line for secret in secrets):
                    shown.append(f"{place}: {line!r}")

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield shown
    finally:
        over.set()
        thread.join()


@pytest.fixture
def planted(server: Conditional, s3: S3Server, tmp_path: Path) -> Planted:
    return Planted(tmp_path, server, s3)


def embed(planted: Planted, *arguments: str) -> Ended:
    """As a process, with a process of its own for decoding, while the list of processes is watched."""
    more = ("--config", str(planted.settings), "--set", "decode.isolate=true", "--json", "--verbose", *arguments)
    with processes_watched(planted.secrets) as shown:
        ended = end(start("embed", str(planted.manifest), planted.table, *more))
    assert shown == []
    planted.printed += [ended.out, ended.err]
    assert ended.code == 0, ended.err
    assert (ended.json["vectors"], ended.json["failures"]) == (6, 7)
    return ended


def test_no_command_shows_a_secret(planted: Planted) -> None:
    table, own = planted.table, ("--config", str(planted.settings))
    embed(planted, *LOCAL)
    planted.check()
    ids = lance.dataset(f"{table}.lance").to_table(columns=["id"])["id"].to_pylist()
    for verb in ("describe", "failures", "audit"):
        planted.call(verb, table, "--json", *own)
        planted.call(verb, table, *own)
    planted.call("search", table, "--id", ids[0], "--json", *own)
    planted.call("search", table, "--image", planted.uris[6], *own)
    planted.call("search", table, "--image", planted.uris[0], *own, "--json")
    planted.call("export", table, f"{planted.folder}/exported", *own)

    planted.server.put("2.png", png_of(50))
    planted.server.delete("3.png")
    planted.write([*planted.uris[1:], f"{planted.server.url}/4.png?token={CANARY}&new=1"])
    refreshed = planted.call("refresh", table, "--check-http", "--max-deleted", "1", "--json", *own)
    assert refreshed.code == 0, refreshed.err
    planted.call("diff", table, "1", "--out", f"{planted.folder}/diff.jsonl", *own)

    swapped = planted.call(
        "swap", table, "--set", "model.preprocess.resize=squash", "--to", "backfill", *own, *LOCAL[2:]
    )
    assert swapped.code in (0, 1), swapped.err
    night = planted.folder / "own" / "night.yaml"
    values: dict[str, Any] = yaml.safe_load(planted.settings.read_text()) | {"table": table, "retries": {"attempts": 1}}
    values["source"]["uri"] = str(planted.manifest)
    night.write_text(yaml.safe_dump(values | {"model": {"name": "null"}, "cluster": {"executor": "local"}}))
    planted.call("nightly", str(night), "--metrics", f"{planted.folder}/metrics.prom", "--json")
    assert (planted.folder / "metrics.prom").exists()
    planted.call("delete", table, "--id", ids[0], "--json", *own)
    planted.check()


def test_what_the_user_gives_on_the_command_line_is_not_told_again(planted: Planted) -> None:
    """Sources, tables and queries with secrets in their own addresses, and what cannot be read of them."""
    url = planted.server.url
    for source in (f"{url}/m.parquet?{SIGNED}", f"http://user:{CANARY}@127.0.0.1:1/m.csv?token={CANARY}"):
        planted.call("embed", source, f"{planted.folder}/lake/other", *LOCAL, *LOOPBACK)
        planted.call("embed", source, f"{planted.folder}/lake/other", *LOCAL, "--dry-run")
    planted.call("describe", f"{planted.folder}/lake/none?token={CANARY}")
    planted.call("embed", str(planted.manifest), planted.table, "--set", f"storage.secret={CANARY}", "--set", "x=1")
    planted.call("embed", str(planted.manifest), planted.table, "--set", f"storage.nope={CANARY}")
    planted.check()


@pytest.mark.slow
def test_no_log_of_ray_has_a_secret(planted: Planted, tmp_path: Path) -> None:
    sessions = Path("/tmp/ray")
    before = set(sessions.glob("session_*")) if sessions.exists() else set()
    embed(planted, *RAY)
    planted.check()
    logs = [path for each in set(sessions.glob("session_*")) - before for path in each.rglob("*") if path.is_file()]
    assert logs
    for path in logs:
        data = path.read_bytes()
        assert not any(secret.encode() in data for secret in planted.secrets), path


def test_the_grep_finds_what_is_planted(planted: Planted) -> None:
    """Without it, a `check` that looks nowhere would pass."""
    (planted.folder / "leak.json").write_text(json.dumps({"uri": planted.uris[0]}))
    with pytest.raises(AssertionError, match=r"leak\.json"):
        planted.check()
    (planted.folder / "leak.json").unlink()
    lance.write_dataset(pa.table({"uri": planted.uris}), f"{planted.folder}/lake/leak.lance")
    with pytest.raises(AssertionError):
        planted.check()
