"""Who is answered: by the name that a request calls the server, by the page that it comes from, by the token."""

import asyncio
from typing import Any
from urllib.parse import urlencode

import pytest
from starlette.responses import PlainTextResponse
from starlette.types import Message

from jobs.web.guard import LOOPBACK, Guard

TOKEN = "0123456789abcdef0123456789abcdef"


def ask(
    guard: Guard, path: str = "/api/table", *, method: str = "GET", body: bytes = b"", **headers: str
) -> tuple[int, dict[str, str]]:
    """(status, headers) of the answer; `headers` with `_` for `-`."""
    sent: list[Message] = []
    named = {"host": "127.0.0.1:8765"} | {name.replace("_", "-"): value for name, value in headers.items()}
    scope: dict[str, Any] = {
        "type": "http",
        "method": method,
        "path": path,
        "query_string": b"",
        "headers": [(name.encode(), value.encode()) for name, value in named.items()],
    }

    async def receive() -> Message:
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: Message) -> None:
        sent.append(message)

    asyncio.run(guard(scope, receive, send))
    return sent[0]["status"], {name.decode(): value.decode() for name, value in sent[0]["headers"]}


def guarded(token: str | None = None, *names: str) -> Guard:
    return Guard(PlainTextResponse("let in"), token=token, names={*LOOPBACK, *names})


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("127.0.0.1:8765", 200),
        ("LOCALHOST:8765", 200),
        ("[::1]:8765", 200),
        ("lab.example", 200),
        ("evil.example:8765", 403),
        ("127.0.0.1.evil.example", 403),
        ("192.168.1.5:8765", 403),
        ("", 403),
    ],
)
def test_a_server_answers_to_its_own_names_alone(host: str, status: int) -> None:
    assert ask(guarded(None, "lab.example"), host=host)[0] == status


def test_with_a_token_addresses_in_numbers_are_names_too() -> None:
    guard, let_in = guarded(TOKEN), {"authorization": f"Bearer {TOKEN}"}
    assert ask(guard, host="192.168.1.5:8765", **let_in)[0] == 200
    assert ask(guard, host="[fe80::1]:8765", **let_in)[0] == 200
    assert ask(guard, host="evil.example:8765", **let_in)[0] == 403


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),
        ({"origin": "http://127.0.0.1:8765", "sec_fetch_site": "same-origin"}, 200),
        ({"origin": "http://127.0.0.1:9999"}, 403),
        ({"origin": "http://evil.example", "sec_fetch_site": "cross-site"}, 403),
        ({"origin": "null"}, 403),
        ({"origin": "http://[::1"}, 403),
        ({"origin": "null", "sec_fetch_site": "cross-site"}, 403),
        ({"sec_fetch_site": "same-site"}, 403),
    ],
)
def test_what_another_sites_page_sends_is_refused(headers: dict[str, str], status: int) -> None:
    assert ask(guarded(), "/api/search", method="POST", **headers)[0] == status


def test_another_site_may_link_here_and_nothing_else() -> None:
    link = {"sec_fetch_site": "cross-site", "sec_fetch_mode": "navigate", "sec_fetch_dest": "document"}
    assert ask(guarded(), "/", **link)[0] == 200
    assert ask(guarded(), "/api/rows/0/picture", sec_fetch_site="cross-site", sec_fetch_mode="no-cors")[0] == 403
    assert ask(guarded(), "/", **{**link, "sec_fetch_dest": "iframe"})[0] == 403


def test_every_answer_says_what_a_browser_may_do_with_it() -> None:
    for headers in (ask(guarded())[1], ask(guarded(), host="evil.example")[1], ask(guarded(TOKEN))[1]):
        policy = headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "frame-ancestors 'none'" in policy
        assert "unsafe" not in policy
        assert "http" not in policy
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "no-referrer"
        assert headers["cache-control"] == "no-store"


@pytest.mark.parametrize(
    "given", ["", "Bearer", "Bearer ", f"Bearer {TOKEN[:-1]}", f"Bearer {TOKEN}x", f"Basic {TOKEN}", "Bearer \xe9"]
)
def test_without_the_token_nothing_is_told(given: str) -> None:
    status, _ = ask(guarded(TOKEN), authorization=given)
    assert status == 401
    status, headers = ask(guarded(TOKEN), "/", authorization=given)
    assert (status, headers["location"]) == (303, "/login")


def test_a_browser_logs_in_and_gets_a_session_of_this_server_alone() -> None:
    guard, other = guarded(TOKEN), guarded(TOKEN)
    body = urlencode({"token": f" {TOKEN} "}).encode()
    own_page = {"origin": "null", "sec_fetch_site": "same-origin"}
    status, headers = ask(guard, "/login", method="POST", body=body, **own_page)
    assert (status, headers["location"]) == (303, "/")
    cookie = headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=strict" in cookie
    assert TOKEN not in cookie
    kept = cookie.partition(";")[0]
    assert ask(guard, cookie=kept)[0] == 200
    assert ask(other, cookie=kept)[0] == 401
    assert ask(guard, cookie=kept.partition("=")[0] + "=" + "0" * 64)[0] == 401
    assert ask(guard, cookie="pixlake-8765=; \x00=")[0] == 401


def test_a_wrong_token_opens_nothing() -> None:
    for body in (b"token=wrong", b"", b"\xff\xfe", b"token=" + b"x" * 5000):
        status, headers = ask(guarded(TOKEN), "/login", method="POST", body=body)
        assert status in (303, 413)
        assert "set-cookie" not in headers
    assert ask(guarded(None), "/login", method="POST", body=b"token=")[1]["location"] == "/login?wrong"
