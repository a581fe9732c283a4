"""An HTTP server of numbered images that notes who was asked for, and can act when a run has come so far."""

import contextlib
import http.client
import re
import threading
import time
from collections import Counter
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler
from typing import Any

from end_to_end.audit import Expected
from made.solid_images import png_of
from servers.many_clients import ManyClientsServer


class ImageServer:
    """`GET /NUMBER.png`. The count of requests is the witness of how often an image was embedded."""

    def __init__(self, picture: Callable[[int], bytes] = png_of) -> None:
        """`picture`: the file that image NUMBER is."""
        self._picture = picture
        self.requested: Counter[str] = Counter()
        self.missing: set[int] = set()
        self._lock = threading.Lock()
        self._acts: dict[int, Callable[[], None]] = {}
        self._held_from: int | None = None
        self._connections = 0
        self._reached_hold, self._released = threading.Event(), threading.Event()
        self._http = _CountingServer(("127.0.0.1", 0), _handler(self))
        self._http.on_change = self._connected
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()

    def uri(self, number: int) -> str:
        return f"http://127.0.0.1:{self._http.server_port}/{number}.png"

    def expected(self, numbers: range) -> list[Expected]:
        return [Expected(self.uri(number), number) for number in numbers]

    def forget(self) -> None:
        """Count from zero, hold nothing; what a client that was killed had sent is not counted any more."""
        self.release()
        # Answered in the order of connecting: whoever connected before, and was killed, is taken in by then.
        last = http.client.HTTPConnection("127.0.0.1", self._http.server_port, timeout=60)
        last.request("GET", "/")
        last.getresponse().read()
        last.close()
        deadline = time.monotonic() + 60
        while self._connections and time.monotonic() < deadline:
            time.sleep(0.01)
        with self._lock:
            self.requested, self._acts, self._held_from = Counter(), {}, None
            self._reached_hold, self._released = threading.Event(), threading.Event()

    def act_at(self, request: int, act: Callable[[], None]) -> None:
        """Call `act` in a thread of its own when this many requests have come in."""
        with self._lock:
            self._acts[request] = act

    def hold_from(self, request: int) -> None:
        """Let every request from this one on wait for `release`."""
        with self._lock:
            self._held_from = request

    def wait_for_hold(self, timeout: float = 120.0) -> None:
        assert self._reached_hold.wait(timeout), f"only {self.requested.total()} requests came in"

    def release(self) -> None:
        with self._lock:
            self._held_from = None
            self._released.set()

    def close(self) -> None:
        self.release()
        self._http.shutdown()
        self._http.server_close()
        self._thread.join()

    def _connected(self, change: int) -> None:
        with self._lock:
            self._connections += change

    def answer(self, number: int) -> bytes | None:
        """The body; None for an image that is not there."""
        with self._lock:
            self.requested[self.uri(number)] += 1
            count = self.requested.total()
            act = self._acts.pop(count, None)
            released = self._released if self._held_from is not None and count >= self._held_from else None
        if act:
            threading.Thread(target=act, daemon=True).start()
        if released:
            self._reached_hold.set()
            released.wait(120)
        return None if number in self.missing else self._picture(number)


class _CountingServer(ManyClientsServer):
    """Tells of each connection before its thread starts, and when it has ended, however that was."""

    on_change: Callable[[int], None]

    def process_request(self, request: Any, client_address: Any) -> None:
        self.on_change(1)
        super().process_request(request, client_address)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            self.on_change(-1)


def _handler(server: ImageServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            found = re.fullmatch(r"/(\d+)\.png", self.path)
            body = server.answer(int(found[1])) if found else None
            self.send_response(404 if body is None else 200)
            self.send_header("Content-Length", str(len(body or b"")))
            self.end_headers()
            self.wfile.write(body or b"")

        def log_message(self, format: str, *args: object) -> None:
            pass

        def handle(self) -> None:
            # A client may be killed.
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                super().handle()

    return Handler
