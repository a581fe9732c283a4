"""A proxy in front of a real S3 server that can lose the answer to a request which the server has carried out."""

import http.client
import threading
from http.server import BaseHTTPRequestHandler
from types import TracebackType
from urllib.parse import urlsplit

from servers.many_clients import ManyClientsServer


class CuttingProxy:
    """Forwards everything, Host header included, so that signatures stay valid."""

    def __init__(self, endpoint_url: str) -> None:
        upstream = urlsplit(endpoint_url).netloc
        proxy = self
        self.cuts = 0
        self.hide_conflicts = False
        """Answer 200 where the server says 412: what a store that ignores If-None-Match answers."""
        self._cut_left = 0

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def forward(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                connection = http.client.HTTPConnection(upstream, timeout=30)
                connection.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
                for name, value in self.headers.items():
                    connection.putheader(name, value)
                connection.endheaders(body)
                answer = connection.getresponse()
                content = answer.read()
                connection.close()
                if proxy._take_cut(self.command, self.path, answer.status):
                    self.close_connection = True
                    return
                status = 200 if proxy.hide_conflicts and answer.status == 412 else answer.status
                self.send_response_only(status)
                for name, value in answer.getheaders():
                    if name.lower() not in ("transfer-encoding", "connection", "content-length"):
                        self.send_header(name, value)
                if status != answer.status:
                    self.send_header("ETag", '"hidden"')
                length = answer.getheader("Content-Length") if self.command == "HEAD" else len(content)
                self.send_header("Content-Length", str(length or 0))
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(content)

            do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = forward

            def log_message(self, format: str, *args: object) -> None:
                pass

        self._server = ManyClientsServer(("127.0.0.1", 0), Handler)
        self._lock = threading.Lock()
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def cut_manifest_answers(self, count: int) -> None:
        """Lose the answers to the next `count` manifests that the server accepts."""
        self._cut_left = count

    def _take_cut(self, method: str, path: str, status: int) -> bool:
        with self._lock:
            if method == "PUT" and ".manifest" in path and status == 200 and self._cut_left:
                self._cut_left -= 1
                self.cuts += 1
                return True
        return False

    def __enter__(self) -> "CuttingProxy":
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
