"""What stands before every request: who may ask, and from which page; and what a browser may do with the
answer."""

import hashlib
import hmac
import ipaddress
import json
import secrets
from collections.abc import Iterable
from http.cookies import CookieError, SimpleCookie
from urllib.parse import parse_qs, urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

CONTENT_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; form-action 'self'; "
    "frame-ancestors 'none'; base-uri 'none'; require-trusted-types-for 'script'; trusted-types 'none'"
)
HEADERS = {
    "content-security-policy": CONTENT_POLICY,
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), microphone=(), geolocation=()",
}
LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})
FREE = ("/page/", "/login")
"""Beginnings of paths that are answered without the token: they hold nothing of the table."""
TOO_LONG = "more bytes than are taken: --set fetch.max_bytes bounds images"
_LOGIN_BYTES = 4 << 10


class Guard:
    """The rules of one server, before its application."""

    def __init__(self, app: ASGIApp, *, token: str | None, names: Iterable[str]) -> None:
        """`names`: what the server may be called in a URL, beside addresses in numbers where it has a token."""
        self._app = app
        self._token = token
        self._names = frozenset(name.lower() for name in names)
        # What the browser keeps opens this server as long as it runs, and no other.
        self._session = None if token is None else hmac.digest(secrets.token_bytes(32), token.encode(), hashlib.sha256)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        told = False

        async def guarded(message: Message) -> None:
            nonlocal told
            if told:
                return
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                if message["status"] == 413 and headers.get("content-type", "").startswith("text/plain"):
                    # Starlette's answer where the length is announced is no JSON, as every other refusal is.
                    await _no(413, TOO_LONG)(scope, receive, guarded)
                    told = True
                    return
                for name, value in HEADERS.items():
                    headers[name] = value
                headers.setdefault("cache-control", "no-store")
            await send(message)

        refused = self._refused(scope)
        if refused is None and scope["path"] == "/login" and scope["method"] == "POST":
            refused = await self._log_in(scope, receive)
        if refused is not None:
            await refused(scope, receive, guarded)
            return
        await self._app(scope, receive, guarded)

    def _refused(self, scope: Scope) -> Response | None:
        headers = Headers(scope=scope)
        name = _host_name(headers.get("host", ""))
        if not self._is_called(name):
            return _no(403, f"this server does not go by the name {name!r}; `pixlake serve --name {name}` lets it")
        if not _is_own_page(headers, scope["method"]):
            return _no(403, "requests of other sites' pages are not answered")
        if self._token is not None and not scope["path"].startswith(FREE) and not self._is_let_in(headers):
            if scope["path"].startswith("/api/"):
                return _no(401, "a token is needed: `Authorization: Bearer TOKEN`")
            return RedirectResponse("/login", 303)
        return None

    def _is_called(self, name: str) -> bool:
        """Names are what a hostile page can point at this machine (DNS rebinding); numbers say where it is."""
        return name in self._names or (self._token is not None and _is_address(name))

    def _is_let_in(self, headers: Headers) -> bool:
        given = headers.get("authorization", "")
        if given[:7].lower() == "bearer ":
            return self._is_token(given[7:].strip())
        assert self._session is not None
        return hmac.compare_digest(_cookie(headers, _cookie_name(headers)).encode(), self._session.hex().encode())

    def _is_token(self, given: str) -> bool:
        assert self._token is not None
        return hmac.compare_digest(given.encode(), self._token.encode())

    async def _log_in(self, scope: Scope, receive: Receive) -> Response:
        body = b""
        while True:
            message = await receive()
            body += message.get("body", b"")
            if len(body) > _LOGIN_BYTES:
                return _no(413, "more was sent than a token")
            if not message.get("more_body"):
                break
        given = parse_qs(body.decode("utf-8", "replace")).get("token", [""])[0].strip()
        if self._token is None or self._session is None or not self._is_token(given):
            return RedirectResponse("/login?wrong", 303)
        answer = RedirectResponse("/", 303)
        answer.set_cookie(
            _cookie_name(Headers(scope=scope)), self._session.hex(), httponly=True, samesite="strict", path="/"
        )
        return answer


def _no(status: int, why: str) -> Response:
    return PlainTextResponse(json.dumps({"error": why}), status, media_type="application/json")


def _host_name(host: str) -> str:
    """The name of a Host header, without its port."""
    if host.startswith("["):
        return host[1:].partition("]")[0].lower()
    return host.partition(":")[0].lower()


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def _is_own_page(headers: Headers, method: str) -> bool:
    """Whether a request comes from this server's own pages, or from no page at all."""
    site = headers.get("sec-fetch-site", "none")
    if site in ("cross-site", "same-site") and not (
        method == "GET" and headers.get("sec-fetch-mode") == "navigate" and headers.get("sec-fetch-dest") == "document"
    ):
        return False
    origin = headers.get("origin")
    # Without a referrer the form of the login page has the origin `null`; the browser's own word says whose it is.
    if method in ("GET", "HEAD") or origin is None or (origin == "null" and site == "same-origin"):
        return True
    try:
        return urlsplit(origin).netloc.lower() == headers.get("host", "").lower()
    except ValueError:
        return False


def _cookie_name(headers: Headers) -> str:
    """A browser keeps cookies by a machine's name alone, whatever the port: another server there has its own."""
    host = headers.get("host", "")
    return f"pixlake-{host.rpartition(':')[2] if ':' in host.rpartition(']')[2] else '80'}"


def _cookie(headers: Headers, name: str) -> str:
    try:
        found = SimpleCookie(headers.get("cookie", "")).get(name)
    except CookieError:
        return ""
    return "" if found is None else found.value
