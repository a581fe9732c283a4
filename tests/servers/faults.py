"""A real server that misbehaves on request, over HTTP and as the part of S3 that reads: the faults that tests
need. Runs in a thread; counts what it is asked.

`/KIND/NAME` misbehaves as KIND says. `/scripted/NAME` and the bucket `bucket` (`s3://bucket/NAME`) draw each answer of
`script`, by the seed, the path and how often it was asked: the same in every run, whatever comes in between. While
`outage` is set they all behave as it says.
"""

import asyncio
import gzip
import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

from aiohttp import web

BODY = bytes(range(256)) * 40
BOMB = gzip.compress(bytes(4 << 20))
_CODES = {403: "AccessDenied", 404: "NoSuchKey", 416: "InvalidRange", 429: "TooManyRequests", 503: "ServiceUnavailable"}


class FaultServer:
    """`asked["/KIND/NAME"]` counts the requests, `log` has (seconds, path, status) of each that came to an answer."""

    def __init__(self, *, seed: int = 0) -> None:
        self.asked: Counter[str] = Counter()
        self.log: list[tuple[float, str, int]] = []
        self.headers: dict[str, Mapping[str, str]] = {}
        """Path -> headers of its last request."""
        self.seed = seed
        self.script: dict[str, float] = {}
        """KIND -> its share of the answers to scripted objects; the rest is well."""
        self.faulty: dict[str, str] = {}
        """NAME of a scripted object -> the KIND that it always is."""
        self.bodies: dict[str, bytes] = {}
        """NAME of a scripted object -> what it is; `BODY` for others."""
        self.outage: str | None = None
        self.requests_until_outage: int | None = None
        """After so many it is away: all others are answered 503, from the very next one on."""
        """The KIND that every scripted object is."""
        self.delay_s = 0.0
        """Before each answer about a scripted object."""
        self.expired_keys: set[str] = set()
        """Access keys whose requests for the bucket are refused as expired."""
        self.payer_required = False
        """Requests for the bucket must say that the requester pays."""
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._port = 0
        self._call(self._start())
        self.url = f"http://127.0.0.1:{self._port}"

    def close(self) -> None:
        self.stop()
        self._call(self._end_tasks())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def stop(self) -> None:
        """As a server that dies: nobody listens any more, and open connections are cut."""
        self._call(self._runner.cleanup())

    def restart(self) -> None:
        """At the same address."""
        self._call(self._start())

    def _call(self, work: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(30)

    async def _end_tasks(self) -> None:
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)

    async def _start(self) -> None:
        app = web.Application()
        app.router.add_route("*", "/{tail:.*}", self._logged)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", self._port, reuse_address=True).start()
        self._port = self._runner.addresses[0][1]

    async def _logged(self, request: web.Request) -> web.StreamResponse:
        self.asked[request.path] += 1
        if self.requests_until_outage is not None and self.asked.total() > self.requests_until_outage:
            self.outage = "503"
        self.headers[request.path] = dict(request.headers)
        answer = await self._answer(request)
        self.log.append((time.monotonic(), request.path, answer.status))
        return answer

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        kind = request.path.split("/")[1]
        if kind.isdigit():
            return web.Response(status=int(kind), text="no")
        return await self._as(kind, request, self.asked[request.path])

    async def _as(self, kind: str, request: web.Request, count: int) -> web.StreamResponse:
        handler: Callable[[web.Request, int], Any] = getattr(self, f"_{kind}")
        answer: web.StreamResponse = await handler(request, count)
        return answer

    # What is scripted.

    async def _scripted(self, request: web.Request, count: int) -> web.StreamResponse:
        await asyncio.sleep(self.delay_s)
        kind = self._drawn(request.path, count)
        if kind.isdigit():
            return self._refusal(request, int(kind))
        return await self._as(kind, request, count)

    async def _bucket(self, request: web.Request, count: int) -> web.StreamResponse:
        if any(f"Credential={key}/" in request.headers.get("Authorization", "") for key in self.expired_keys):
            return self._refusal(request, 400, code="ExpiredToken")
        if self.payer_required and request.headers.get("x-amz-request-payer") != "requester":
            return self._refusal(request, 403)
        return await self._scripted(request, count)

    def _drawn(self, path: str, count: int) -> str:
        always = self.outage or self.faulty.get(path.rpartition("/")[2])
        if always:
            return always
        drawn = random.Random(f"{self.seed} {path} {count}").random()
        for kind, share in self.script.items():
            drawn -= share
            if drawn < 0:
                return kind
        return "ok"

    def _refusal(
        self, request: web.Request, status: int, *, code: str | None = None, headers: Mapping[str, str] | None = None
    ) -> web.Response:
        """As a web server says it, or as S3 does."""
        if request.path.split("/")[1] != "bucket":
            return web.Response(status=status, text="no", headers=headers)
        said = code or _CODES.get(status, "InternalError")
        return web.Response(status=status, text=f"<Error><Code>{said}</Code></Error>", headers=headers)

    def _body(self, request: web.Request) -> bytes:
        return self.bodies.get(request.path.rpartition("/")[2], BODY)

    # Faults, by name.

    async def _ok(self, request: web.Request, count: int) -> web.Response:
        """Whole, or the range that is asked for."""
        body, headers = self._body(request), {"ETag": '"v1"', "Last-Modified": "Sun, 29 Nov 2026 00:00:00 GMT"}
        span = request.http_range
        if span.start is None and span.stop is None:
            return web.Response(body=body, headers=headers)
        part = body[span]
        headers["Content-Range"] = f"bytes {span.start}-{span.start + len(part) - 1}/{len(body)}"
        return web.Response(status=206, body=part, headers=headers)

    async def _late(self, request: web.Request, count: int) -> web.Response:
        await asyncio.sleep(0.15)
        return web.Response(body=BODY)

    async def _burst(self, request: web.Request, count: int) -> web.Response:
        return web.Response(body=BODY) if count > 2 else web.Response(status=503)

    async def _slowdown(self, request: web.Request, count: int) -> web.Response:
        return web.Response(body=BODY) if count > 1 else await self._throttled(request, count)

    async def _throttled(self, request: web.Request, count: int) -> web.Response:
        """S3's SlowDown, or 429 elsewhere; to come again in a second."""
        is_s3 = request.path.split("/")[1] == "bucket"
        return self._refusal(request, 503 if is_s3 else 429, code="SlowDown", headers={"Retry-After": "1"})

    async def _s3(self, request: web.Request, count: int) -> web.Response:
        """An S3 bucket `s3` whose keys name the error code of the first answer."""
        if count > 1:
            return web.Response(body=BODY, headers={"ETag": '"v2"'})
        status, code = request.path.split("/")[2].split("-")
        return web.Response(status=int(status), text=f"<Error><Code>{code}</Code></Error>")

    async def _stalled(self, request: web.Request, count: int) -> web.Response:
        await asyncio.sleep(3)
        return web.Response(body=BODY)

    async def _silent(self, request: web.Request, count: int) -> web.Response:
        """No answer, as long as anyone waits."""
        await asyncio.sleep(600)
        return web.Response(body=BODY)

    async def _hanging(self, request: web.Request, count: int) -> web.StreamResponse:
        """Half a body, and then nothing."""
        answer = web.StreamResponse(headers={"Content-Length": str(len(BODY)), "ETag": '"v1"'})
        await answer.prepare(request)
        await answer.write(BODY[: len(BODY) // 2])
        await asyncio.sleep(600)
        return answer

    async def _drip(self, request: web.Request, count: int) -> web.StreamResponse:
        answer = web.StreamResponse(headers={"Content-Length": "1000"})
        await answer.prepare(request)
        for _ in range(1000):
            await answer.write(b"x")
            await asyncio.sleep(0.05)
        return answer

    async def _partial(self, request: web.Request, count: int) -> web.StreamResponse:
        return await self._cut(request, count) if count == 1 else await self._ok(request, count)

    async def _cut(self, request: web.Request, count: int) -> web.StreamResponse:
        """Half of what is announced, and then the connection is closed."""
        body = self._body(request)
        answer = web.StreamResponse(
            headers={"Content-Length": str(len(body)), "ETag": '"v1"', "Last-Modified": "Sun, 29 Nov 2026 00:00:00 GMT"}
        )
        await answer.prepare(request)
        await answer.write(body[: len(body) // 2])
        if request.transport:
            request.transport.close()
        return answer

    async def _changing(self, request: web.Request, count: int) -> web.StreamResponse:
        """Breaks off once; what is there the next time is another object, of the same size."""
        if count == 1:
            return await self._cut(request, count)
        return web.Response(body=bytes(reversed(self._body(request))), headers={"ETag": f'"v{count}"'})

    async def _reset(self, request: web.Request, count: int) -> web.Response:
        if count == 1 and request.transport:
            request.transport.abort()
        return web.Response(body=BODY)

    async def _resets(self, request: web.Request, count: int) -> web.Response:
        """Always."""
        if request.transport:
            request.transport.abort()
        return web.Response(body=BODY)

    async def _endless(self, request: web.Request, count: int) -> web.StreamResponse:
        answer = web.StreamResponse()
        answer.enable_chunked_encoding()
        await answer.prepare(request)
        for _ in range(1000):
            await answer.write(b"x" * 65536)
        return answer

    async def _gzip(self, request: web.Request, count: int) -> web.Response:
        return web.Response(body=gzip.compress(BODY), headers={"Content-Encoding": "gzip"})

    async def _bomb(self, request: web.Request, count: int) -> web.Response:
        return web.Response(body=BOMB, headers={"Content-Encoding": "gzip"})

    async def _brotli(self, request: web.Request, count: int) -> web.Response:
        return web.Response(body=BODY, headers={"Content-Encoding": "br"})

    async def _hops(self, request: web.Request, count: int) -> web.Response:
        left = int(request.path.split("/")[2])
        target = f"/hops/{left - 1}" if left > 1 else "/ok/end"
        return web.Response(status=302, headers={"Location": target})

    async def _goto(self, request: web.Request, count: int) -> web.Response:
        return web.Response(status=302, headers={"Location": request.query["to"]})
