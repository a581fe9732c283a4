"""The server itself: a socket, uvicorn on it, and a clean end."""

import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

import uvicorn
from starlette.types import ASGIApp

from operators.base.errors import UserError

_LEFT_S = 3
"""Seconds that requests have to end once the server is told to."""
_MOST_CONNECTIONS = 512


class Serving(uvicorn.Server):
    """uvicorn, ended by SIGINT or SIGTERM with nothing raised: that is how a server is meant to end."""

    @classmethod
    def of(cls, app: ASGIApp) -> "Serving":
        """uvicorn as it is used here: quiet, without its name in answers."""
        return cls(
            uvicorn.Config(
                app,
                # What fails unforeseen is told by the application, without secrets.
                log_level="critical",
                access_log=False,
                server_header=False,
                # Whoever stands before this server may say anything in `X-Forwarded-For`.
                proxy_headers=False,
                lifespan="off",
                ws="none",
                timeout_graceful_shutdown=_LEFT_S,
                limit_concurrency=_MOST_CONNECTIONS,
            )
        )

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {number: signal.signal(number, self._on_signal) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        # The second one does not wait for requests.
        self.force_exit = self.should_exit
        self.should_exit = True


def listen(host: str, port: int) -> socket.socket:
    """A socket that listens. Raises `UserError` where the address is taken, or is not this machine's."""
    try:
        kind, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        listening = socket.socket(kind, socket.SOCK_STREAM)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(address)
        listening.listen(1024)
    except OSError as error:
        why = error.strerror or str(error)
        raise UserError(
            f"--host {host} --port {port}: cannot listen there: {why}; --port 0 takes any free one"
        ) from None
    return listening


def url_of(host: str, listening: socket.socket) -> str:
    """Where a browser on this machine, or one that knows it by `host`, finds the server."""
    port = listening.getsockname()[1]
    shown = {"0.0.0.0": socket.gethostname(), "::": socket.gethostname()}.get(host, host)
    return f"http://{f'[{shown}]' if ':' in shown else shown}:{port}/"
