"""A read-only S3 bucket that keeps keys letter for letter, as AWS does: SeaweedFS 4.48 folds `//` and drops `.`.

What it answers follows Amazon's API reference of ListObjectsV2, HeadObject and GetObject.
"""

from collections.abc import Mapping
from hashlib import md5
from urllib.parse import quote_plus, unquote
from xml.sax.saxutils import escape

from aiohttp import web

from servers.served import Served

_PAGE = 3
_ILLEGAL = {chr(code): f"&#x{code:X};" for code in range(1, 32)}
"""As AWS writes them: XML 1.0 allows three of them."""


class LiteralKeys(Served):
    """Bucket `keys`, for anybody. `refuse`: statuses that the next listings are answered with. `broken`: what is wrong
    with pages of listings, `token` where they say that there is more and not where, `body` where their second half is
    missing, and a number of objects after which pages are denied."""

    def __init__(self, objects: Mapping[str, bytes]) -> None:
        self.objects = dict(objects)
        self.refuse: list[int] = []
        self.broken: str | int | None = None
        self.asked: list[str] = []
        """`HEAD key`, `GET key` and `LIST prefix`, in their order."""
        super().__init__()

    async def answer(self, request: web.Request) -> web.StreamResponse:
        path = request.raw_path.partition("?")[0]
        key = unquote(path.removeprefix("/keys").removeprefix("/"))
        if "list-type" in request.query:
            self.asked.append(f"LIST {request.query.get('prefix', '')}")
            return self._listed(request.query)
        self.asked.append(f"{request.method} {key}")
        data = self.objects.get(key)
        if data is None:
            return web.Response(status=404, text="<Error><Code>NoSuchKey</Code></Error>")
        headers = {"ETag": f'"{md5(data).hexdigest()}"', "Last-Modified": "Sun, 29 Nov 2026 00:00:00 GMT"}
        asked = request.http_range
        if asked.start is None:
            return web.Response(body=data, headers=headers)
        part = data[asked]
        headers["Content-Range"] = f"bytes {asked.start}-{asked.start + len(part) - 1}/{len(data)}"
        return web.Response(status=206, body=part, headers=headers)

    def _listed(self, query: Mapping[str, str]) -> web.Response:
        after = int(query.get("continuation-token", "0"))
        if self.refuse or after == self.broken:
            body = "<Error><Code>Refused</Code><Message>not now</Message></Error>"
            return web.Response(status=self.refuse.pop(0) if self.refuse else 403, text=body)
        url = query.get("encoding-type") == "url"
        found = sorted(key for key in self.objects if key.startswith(query.get("prefix", "")))
        page = found[after : after + _PAGE]
        contents = "".join(self._contents(key, url) for key in page)
        more = ""
        if found[after + _PAGE :]:
            token = "" if self.broken == "token" else f"<NextContinuationToken>{after + _PAGE}</NextContinuationToken>"
            more = f"<IsTruncated>true</IsTruncated>{token}"
        said = "<EncodingType>url</EncodingType>" if url else ""
        space = "http://s3.amazonaws.com/doc/2006-03-01/"
        body = f'<ListBucketResult xmlns="{space}">{said}{more}{contents}</ListBucketResult>'
        return web.Response(text=body[: len(body) // 2] if self.broken == "body" else body)

    def _contents(self, key: str, url: bool) -> str:
        written = quote_plus(key, safe="/") if url else escape(key, _ILLEGAL)
        data = self.objects[key]
        tag = f"<ETag>&quot;{md5(data).hexdigest()}&quot;</ETag><LastModified>2026-11-29T00:00:00.000Z</LastModified>"
        return f"<Contents><Key>{written}</Key>{tag}<Size>{len(data)}</Size></Contents>"
