"""`pixlake serve`: a page to search and look at a table in a browser, and a REST API."""

import os
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import Field

from jobs.config.read import ReadConfig
from jobs.failures import FailuresConfig
from jobs.looking.images import fetch_to_look, packed_rows
from jobs.search import SearchSettings
from jobs.session.progress import working
from operators.api.options import NO_API_OPTIONS, ApiOptions
from operators.base.errors import UserError, printable_lines
from operators.decode import DecodeOptions
from operators.fetching.options import FetchOptions
from operators.models.weights.cache import cache_folder
from operators.storage.redact import reason_of, redact
from pipelines.pictures.make import PictureMaker
from pipelines.reread.kept import KeptRows
from pipelines.search.kept_operators import KEPT
from pipelines.versions.followed import FollowedTable

if TYPE_CHECKING:
    from jobs.web.pictures import Pictures

TOKEN = "PIXLAKE_SERVE_TOKEN"
"""Environment variable: what a client must know, where the server can be reached from other machines."""
SHORTEST_TOKEN = 16
_DECODERS = 4
"""Processes that decode images for pictures, where there are twice as many cores."""
_NEIGHBOUR_BYTES = 128 << 20
"""Of images that lie beside one that was asked for, in the same tar or Parquet file."""


class ServeConfig(ReadConfig):
    """What is served, where, and to whom. The file of the embed job that made the table serves as it is."""

    host: str = "127.0.0.1"
    """Address to listen on. Any but this machine's own (127.0.0.1, ::1, localhost) needs a token."""
    port: int = Field(default=8765, ge=0, le=65535)
    """0: any that is free."""
    token_file: Path | None = None
    """A file with the token, of 16 characters at least; without one, `PIXLAKE_SERVE_TOKEN` where that is set."""
    name: tuple[str, ...] = ()
    """Names by which browsers may call the server, beside its address: a page of another site could otherwise let its
    own name lead here."""
    cache_bytes: int = Field(default=1 << 30, ge=0)
    """Bytes of pictures that are kept on disk, under `~/.cache/pixlake/pictures`."""
    fetch: FetchOptions = FetchOptions()
    """How images are read again for pictures and queries; `fetch.max_bytes` bounds what a client may send too."""
    api: ApiOptions = NO_API_OPTIONS
    """Settings for a table whose model is asked over the network."""

    @property
    def is_local(self) -> bool:
        """Whether no other machine can reach the server."""
        return self.host in ("127.0.0.1", "::1", "localhost")

    def token(self) -> str | None:
        """What a client must know; None where none is needed. Raises `UserError` where it is missing or too short."""
        where, found = TOKEN, os.environ.get(TOKEN)
        if self.token_file is not None:
            where = str(self.token_file)
            try:
                found = self.token_file.expanduser().read_text()
            except (OSError, ValueError) as error:
                raise UserError(f"--token-file {where}: cannot be read: {error}") from None
        found = None if found is None else found.strip()
        if found is not None and (len(found) < SHORTEST_TOKEN or not found.isascii() or not found.isprintable()):
            raise UserError(
                f"{where}: a token has {SHORTEST_TOKEN} printable ASCII characters at least; "
                "`openssl rand -hex 32` makes one"
            )
        if found is None and not self.is_local:
            raise UserError(
                f"--host {self.host}: other machines can reach it, so it needs a token: --token-file FILE, or the "
                f"environment variable {TOKEN}; `openssl rand -hex 32` makes one"
            )
        return found


class Server:
    """A server that listens, and answers while `run` lasts."""

    def __init__(self, config: ServeConfig) -> None:
        """Raises `UserError` for a table, an address or a token that will not do."""
        from jobs.web.answers import Answers
        from jobs.web.api import Threads, make_api
        from jobs.web.guard import LOOPBACK, Guard
        from jobs.web.server import Serving, listen, url_of

        token = config.token()
        self.followed = FollowedTable(config.stored)
        read = {"table": config.table, "storage": config.storage, "table_storage": config.table_storage}
        settings = SearchSettings(**read, fetch=config.fetch, api=config.api)
        self.answers = Answers(settings, FailuresConfig(**read), self.followed, _pictures(config))
        self._listening = listen(config.host, config.port)
        self._threads = Threads(_cores() + 2)
        app = Guard(
            make_api(self.answers, self._threads, config.fetch.max_bytes),
            token=token,
            names={*LOOPBACK, config.host, *config.name},
        )
        self._serving = Serving.of(app)
        self.url = url_of(config.host, self._listening)

    @contextmanager
    def heeding_signals(self) -> Iterator[None]:
        """While entered, in the main thread, SIGINT or SIGTERM is `stop`, whether `run` has begun or not."""
        with self._serving.capture_signals():
            yield

    @property
    def is_stopped(self) -> bool:
        return self._serving.should_exit

    def run(self) -> None:
        """Answer until `stop`, or in the main thread until SIGINT or SIGTERM."""
        try:
            self._serving.run(sockets=[self._listening])
        finally:
            self._listening.close()
            self._threads.close()
            self.answers.close()
            KEPT.close()

    def stop(self) -> None:
        """Let `run` end, from another thread."""
        self._serving.should_exit = True


def run(config: ServeConfig) -> None:
    """Serve until SIGINT or SIGTERM. Raises `UserError` for a table, an address or a token that will not do."""
    with working(f"opening {config.table}"):
        server = Server(config)
    with server.heeding_signals():
        _say(f"serving {config.table} at {server.url}")
        _say("Ctrl-C ends it" if config.token() is None else "a browser asks for the token; Ctrl-C ends it")
        # Queries wait for a model that is being loaded; the page does not.
        threading.Thread(target=_warm_up, args=(server,), name="warm-up", daemon=True).start()
        server.run()
    _say("ended")


def _warm_up(server: Server) -> None:
    began = time.monotonic()
    try:
        names = server.answers.warm_up()
    except Exception as error:  # whatever it is, the first query meets it too and tells whoever asks
        # Of a server that ends, the image that it was tried with is gone.
        if not server.is_stopped:
            _say(f"the model cannot be loaded, so searches by words and images will fail: {reason_of(error)}")
        return
    if names and not server.is_stopped:
        _say(f"loaded {', '.join(names)} in {time.monotonic() - began:.1f} s")


def _pictures(config: ServeConfig) -> "Pictures":
    from jobs.web.picture_cache import PictureCache
    from jobs.web.pictures import Pictures

    cache = PictureCache(cache_folder().parent / "pictures", config.cache_bytes)
    fetch_now = partial(fetch_to_look, config, config.fetch)
    maker = PictureMaker(fetch_now(), DecodeOptions(), processes=max(1, min(_DECODERS, _cores() // 2)))
    return Pictures(maker, KeptRows(packed_rows(config), _NEIGHBOUR_BYTES), cache, fetch_now)


def _cores() -> int:
    return len(os.sched_getaffinity(0))


def _say(text: str) -> None:
    print(printable_lines(redact(text)), file=sys.stderr, flush=True)
