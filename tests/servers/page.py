"""`pixlake serve` in a thread of the test's own process, and a client that takes answers as they come."""

import http.client
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

from jobs.serve import ServeConfig, Server
from made.served_table import ServedFolder


@dataclass(frozen=True)
class Client:
    """Asks the server, and takes answers as they come."""

    made: ServedFolder
    server: Server

    @property
    def host(self) -> str:
        return urlsplit(self.server.url).netloc

    def send(
        self, method: str, path: str, body: bytes | None = None, headers: dict[str, str] | None = None
    ) -> tuple[int, dict[str, str], bytes]:
        connection = http.client.HTTPConnection(self.host, timeout=60)
        try:
            connection.request(method, path, body, headers or {})
            answer = connection.getresponse()
            return answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read()
        finally:
            connection.close()

    def get(self, path: str, wanted: int = 200) -> Any:
        status, _, body = self.send("GET", path)
        assert status == wanted, body
        return json.loads(body)

    def post(self, path: str, body: Any, wanted: int = 200) -> Any:
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        status, _, told = self.send("POST", path, data, {"content-type": "application/json"})
        assert status == wanted, told
        return json.loads(told)

    def search(self, *examples: dict[str, Any], wanted: int = 200, **settings: Any) -> Any:
        return self.post("/api/search", {"examples": list(examples), **settings}, wanted)

    def ids(self, *examples: dict[str, Any], **settings: Any) -> list[str]:
        return [row["values"]["id"] for row in self.search(*examples, **settings)["results"]]

    def row_of(self, name: str) -> str:
        where = quote(f"id = '{name.replace(chr(39), chr(39) * 2)}'")
        [row] = self.get(f"/api/rows?where={where}")["rows"]
        return str(row["row"])

    def send_image(self, path: Path) -> str:
        return str(self.post("/api/images", path.read_bytes())["image"])


@contextmanager
def serving(made: ServedFolder, **settings: Any) -> Iterator[Client]:
    """A server on a free port for as long as it is entered."""
    server = Server(ServeConfig(table=made.table, port=0, **settings))
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        yield Client(made=made, server=server)
    finally:
        server.stop()
        thread.join()
