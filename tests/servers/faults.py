"""A real HTTP server that misbehaves on request. Runs in a thread; counts what it is asked."""

import asyncio
import gzip
import threading
from collections import Counter
from collections.abc import Callable
from typing import Any

from aiohttp import web

BODY = bytes(range(256)) * 40
BOMB = gzip.compress(bytes(4 << 20))


class FaultServer:
    """`/KIND/NAME` misbehaves as KIND says; `asked["/KIND/NAME"]` counts the requests."""

    def __init__(self) -> None:
        self.asked: Counter[str] = Counter()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self.url = self._call(self._start())

    def close(self) -> None:
        self._call(self._runner.cleanup())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _call(self, work: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(30)

    async def _start(self) -> str:
        app = web.Application()
        app.router.add_get("/{tail:.*}", self._answer)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        return f"http://127.0.0.1:{self._runner.addresses[0][1]}"

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        self.asked[request.path] += 1
        kind = request.path.split("/")[1]
        if kind.isdigit():
            return web.Response(status=int(kind), text="no")
        handler: Callable[[web.Request, int], Any] = getattr(self, f"_{kind}")
        answer: web.StreamResponse = await handler(request, self.asked[request.path])
        return answer

    async def _ok(self, request: web.Request, count: int) -> web.Response:
        return web.Response(body=BODY, headers={"ETag": '"v1"'})

    async def _late(self, request: web.Request, count: int) -> web.Response:
        await asyncio.sleep(0.15)
        return web.Response(body=BODY)

    async def _burst(self, request: web.Request, count: int) -> web.Response:
        return web.Response(body=BODY) if count > 2 else web.Response(status=503)

    async def _slowdown(self, request: web.Request, count: int) -> web.Response:
        return web.Response(body=BODY) if count > 1 else web.Response(status=429, headers={"Retry-After": "1"})

    async def _s3(self, request: web.Request, count: int) -> web.Response:
        """An S3 bucket `s3` whose keys name the error code of the first answer."""
        if count > 1:
            return web.Response(body=BODY, headers={"ETag": '"v2"'})
        status, code = request.path.split("/")[2].split("-")
        return web.Response(status=int(status), text=f"<Error><Code>{code}</Code></Error>")

    async def _stalled(self, request: web.Request, count: int) -> web.Response:
        await asyncio.sleep(3)
        return web.Response(body=BODY)

    async def _drip(self, request: web.Request, count: int) -> web.StreamResponse:
        answer = web.StreamResponse(headers={"Content-Length": "1000"})
        await answer.prepare(request)
        for _ in range(1000):
            await answer.write(b"x")
            await asyncio.sleep(0.05)
        return answer

    async def _partial(self, request: web.Request, count: int) -> web.StreamResponse:
        answer = web.StreamResponse(headers={"Content-Length": str(len(BODY))})
        await answer.prepare(request)
        await answer.write(BODY[: len(BODY) // 2 if count == 1 else None])
        if count == 1 and request.transport:
            request.transport.close()
        return answer

    async def _reset(self, request: web.Request, count: int) -> web.Response:
        if count == 1 and request.transport:
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
