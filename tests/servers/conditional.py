"""An HTTP server of files that answers 304 to whoever has what it has, as RFC 9110 says, and counts what it sends."""

from collections import Counter
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime, parsedate_to_datetime
from hashlib import md5

from aiohttp import web

from servers.served import Served


class Conditional(Served):
    """`put` a file, and change it. Names that begin with `dated` have no etag, those with `plain` no date either."""

    def __init__(self) -> None:
        self.asked: Counter[tuple[str, int]] = Counter()
        """(name, status) -> how often it was answered so."""
        self._files: dict[str, tuple[bytes, datetime]] = {}
        self._now = datetime(2026, 11, 1, tzinfo=UTC)
        super().__init__()

    def put(self, name: str, data: bytes) -> str:
        """Also of one that is there: a later one. Gives its URI."""
        self._now += timedelta(days=1)
        self._files[name] = (data, self._now)
        return f"{self.url}/{name}"

    def delete(self, name: str) -> None:
        del self._files[name]

    async def answer(self, request: web.Request) -> web.StreamResponse:
        name = request.path.strip("/")
        answer = self._answered(name, request)
        self.asked[(name, answer.status)] += 1
        return answer

    def _answered(self, name: str, request: web.Request) -> web.Response:
        if name not in self._files:
            return web.Response(status=404)
        data, changed = self._files[name]
        tag, date = f'"{md5(data).hexdigest()}"', format_datetime(changed, usegmt=True)
        headers = {} if name.startswith("plain") else {"Last-Modified": date}
        if not name.startswith(("plain", "dated")):
            headers["ETag"] = tag
            # It comes first: the other one counts only where it is not there.
            if "If-None-Match" in request.headers:
                same = request.headers["If-None-Match"] == tag
                return web.Response(status=304, headers=headers) if same else web.Response(body=data, headers=headers)
        since = request.headers.get("If-Modified-Since")
        if since is not None and not name.startswith("plain") and changed <= parsedate_to_datetime(since):
            return web.Response(status=304, headers=headers)
        return web.Response(body=data, headers=headers)
