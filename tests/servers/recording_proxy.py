"""A proxy in front of a real S3 server that writes down what is asked for."""

import aiohttp
from aiohttp import web

from servers.served import Served


class RecordingProxy(Served):
    """Forwards everything, Host header included, so that signatures stay valid."""

    def __init__(self, endpoint_url: str) -> None:
        self._upstream = endpoint_url
        self.asked: list[str] = []
        """`HEAD key`, `GET key`, and of a listing `LIST prefix`, in their order; keys with their bucket."""
        super().__init__()

    async def answer(self, request: web.Request) -> web.StreamResponse:
        self.asked.append(_said(request))
        async with (
            aiohttp.ClientSession(auto_decompress=False, skip_auto_headers=("Accept", "User-Agent")) as session,
            session.request(
                request.method,
                f"{self._upstream}{request.raw_path}",
                headers=request.headers,
                data=await request.read() or None,
                allow_redirects=False,
            ) as answer,
        ):
            kept = {name: value for name, value in answer.headers.items() if name != "Transfer-Encoding"}
            return web.Response(status=answer.status, headers=kept, body=await answer.read())


def _said(request: web.Request) -> str:
    path = request.path.strip("/")
    if "list-type" in request.query:
        return f"LIST {path}/{request.query.get('prefix', '')}"
    return f"{request.method} {path}"
