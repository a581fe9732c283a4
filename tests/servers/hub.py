"""A hub on this machine: answers huggingface_hub's requests for files as the real one does, and counts them.

`HEAD /OWNER/NAME/resolve/REVISION/FILENAME` gives commit and etag; a large file redirects to another host (the content
delivery network), which gets no token. Errors carry `X-Error-Code`, which is what huggingface_hub goes by.
"""

import hashlib
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from urllib.parse import unquote, urlsplit

from servers.many_clients import ManyClientsServer

COMMIT = "0123456789abcdef0123456789abcdef01234567"
TOKEN = "hf_" + "c4naryT0ken" * 4


@dataclass
class Hub:
    """What the hub holds, and what it was asked for."""

    port: int = 0
    commit: str = COMMIT
    files: dict[str, bytes] = field(default_factory=dict)
    """OWNER/NAME/FILENAME to content, the same in every commit."""
    gated: set[str] = field(default_factory=set)
    """OWNER/NAME that only `TOKEN` may read."""
    small: set[str] = field(default_factory=set)
    """Files that are not behind a redirect."""
    get_s: float = 0.0
    """How long a download takes at least."""
    broken: int = 0
    """The status of every answer, when not 0."""
    cdn_broken: int = 0
    asked: list[tuple[str, str]] = field(default_factory=list)
    """(method, path), in order."""
    tokens_at_the_cdn: list[str] = field(default_factory=list)

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def requests(self) -> list[str]:
        """`METHOD path` of what was asked for, in order, without what huggingface_hub asks of its own accord."""
        return [f"{method} {path}" for method, path in self.asked if not path.startswith("api/")]


@contextmanager
def running_hub(hub: Hub) -> Iterator[Hub]:
    """Runs until the block ends; after that its port refuses connections."""
    server = ManyClientsServer(("127.0.0.1", hub.port), _handler(hub))
    hub.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _handler(hub: Hub) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_HEAD(self) -> None:
            self.answer(body=False)

        def do_GET(self) -> None:
            self.answer(body=True)

        def answer(self, body: bool) -> None:
            path = unquote(urlsplit(self.path).path).lstrip("/")
            hub.asked.append((self.command, path))
            token = self.headers.get("Authorization", "").removeprefix("Bearer ")
            if hub.broken:
                return self.send(hub.broken, {})
            if path.startswith("api/"):
                # huggingface_hub asks for things of its own once a process.
                return self.send(404, {})
            if path.startswith("cdn/"):
                if hub.cdn_broken:
                    return self.send(hub.cdn_broken, {})
                if token:
                    hub.tokens_at_the_cdn.append(token)
                return self.content(hub.files[path.removeprefix("cdn/")], {}, body)
            owner, name, _, revision, *filename = path.split("/")
            return self.resolve(f"{owner}/{name}", revision, "/".join(filename), token, body)

        def resolve(self, repo: str, revision: str, filename: str, token: str, body: bool) -> None:
            known = {"X-Repo-Commit": hub.commit}
            if not any(each.startswith(f"{repo}/") for each in hub.files):
                return self.send(401 if not token else 404, {"X-Error-Code": "RepoNotFound"})
            if repo in hub.gated and token != TOKEN:
                return self.send(403 if token else 401, {"X-Error-Code": "GatedRepo"})
            if revision not in ("main", hub.commit):
                return self.send(404, {"X-Error-Code": "RevisionNotFound"})
            if f"{repo}/{filename}" not in hub.files:
                return self.send(404, {"X-Error-Code": "EntryNotFound", **known})
            content = hub.files[f"{repo}/{filename}"]
            if filename in hub.small:
                return self.content(content, {"ETag": f'"{hashlib.sha1(content).hexdigest()}"', **known}, body)
            linked = {
                "X-Linked-Size": str(len(content)),
                "X-Linked-ETag": f'"{hashlib.sha256(content).hexdigest()}"',
                # localhost and 127.0.0.1 are two hosts to the client, as the hub and its network are.
                "Location": f"http://localhost:{hub.port}/cdn/{repo}/{filename}?X-Amz-Signature=c4narySignature",
            }
            return self.send(302, {**known, **linked})

        def content(self, content: bytes, headers: dict[str, str], body: bool) -> None:
            if body:
                time.sleep(hub.get_s)
            self.send(200, headers, content, body)

        def send(self, status: int, headers: dict[str, str], content: bytes = b"", body: bool = False) -> None:
            self.send_response(status)
            for name, value in {**headers, "Content-Length": str(len(content))}.items():
                self.send_header(name, value)
            self.end_headers()
            if body:
                self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            pass

    return Handler
