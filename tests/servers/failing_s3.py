"""A proxy in front of a real S3 server that notes what is asked for, and refuses objects or the rest of a listing."""

import re

from aiohttp import web

from servers.recording_proxy import RecordingProxy

_OBJECTS = re.compile(rb"<Contents>.*?</Contents>", re.DOTALL)
_TOKEN = "the-second-half"


class FailingS3(RecordingProxy):
    """Keys in `refused` are answered with their status. While `half_listings` is a status, a listing's first page holds
    half of what the server gave, and the next one is answered with that."""

    def __init__(self, endpoint_url: str) -> None:
        self.refused: dict[str, int] = {}
        """Key, without its bucket -> HTTP status."""
        self.half_listings: int | None = None
        super().__init__(endpoint_url)

    @property
    def fetched(self) -> list[str]:
        """Keys, with their bucket, of objects that were read."""
        return [said.removeprefix("GET ") for said in self.asked if said.startswith("GET ")]

    async def answer(self, request: web.Request) -> web.StreamResponse:
        listing = "list-type" in request.query
        if listing and request.query.get("continuation-token") == _TOKEN:
            return _error(self.half_listings or 500)
        if not listing and (status := self.refused.get(request.path.strip("/").partition("/")[2])):
            self.asked.append(f"GET {request.path.strip('/')}")
            return _error(status)
        answer = await super().answer(request)
        if listing and self.half_listings is not None and isinstance(answer, web.Response):
            return _half(answer)
        return answer


def _half(answer: web.Response) -> web.Response:
    """A page with the first half of its objects, and a token for the rest."""
    assert isinstance(answer.body, bytes)
    objects = _OBJECTS.findall(answer.body)
    body = answer.body
    for each in objects[len(objects) // 2 :]:
        body = body.replace(each, b"")
    body = re.sub(rb"<IsTruncated>.*?</IsTruncated>", b"", body)
    said = f"<IsTruncated>true</IsTruncated><NextContinuationToken>{_TOKEN}</NextContinuationToken></ListBucketResult>"
    return web.Response(body=body.replace(b"</ListBucketResult>", said.encode()), content_type="application/xml")


def _error(status: int) -> web.Response:
    code = {403: "AccessDenied", 404: "NoSuchKey"}.get(status, "InternalError")
    return web.Response(status=status, text=f"<Error><Code>{code}</Code></Error>", content_type="application/xml")
