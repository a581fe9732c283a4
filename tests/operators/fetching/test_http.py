"""The address check holds for what a name really resolves to, each time it is asked."""

import asyncio
import socket
from collections.abc import Iterator
from typing import Any

import pytest
from aiohttp.abc import AbstractResolver

from operators.base.errors import ErrorClass
from operators.fetching.addresses import parse_networks
from operators.fetching.attempt import Attempts, ByteBudget, FetchError, Limits
from operators.fetching.http import HttpReader, parse_url
from servers.faults import BODY, FaultServer

LIMITS = Limits(max_bytes=1 << 20, connect_s=1, first_byte_s=1, object_s=2)


class _Rebinding(AbstractResolver):
    """Answers with the next list of addresses each time."""

    def __init__(self, *answers: list[str]) -> None:
        self._answers = list(answers)

    async def resolve(self, host: str, port: int = 0, family: Any = socket.AF_INET) -> Any:
        addresses = self._answers.pop(0)
        return [
            {"hostname": host, "host": a, "port": port, "family": socket.AF_INET, "proto": 0, "flags": 0}
            for a in addresses
        ]

    async def close(self) -> None:
        self._answers.clear()


@pytest.fixture
def server() -> Iterator[FaultServer]:
    running = FaultServer()
    yield running
    running.close()


async def _read(resolver: AbstractResolver, *uris: str) -> list[bytes | ErrorClass]:
    reader = HttpReader(
        LIMITS,
        ByteBudget(1 << 20),
        allowed=parse_networks(["127.0.0.1/32"]),
        schemes=frozenset({"http"}),
        user_agent="test",
        resolver=resolver,
    )
    results: list[bytes | ErrorClass] = []
    for uri in uris:
        try:
            results.append((await reader.read(uri, Attempts())).data)
        except FetchError as error:
            results.append(error.error_class)
    await reader.close()
    return results


def test_a_name_that_rebinds_between_hops_is_refused_before_it_connects(server: FaultServer) -> None:
    with socket.create_server(("127.0.0.2", 0)) as listener:
        listener.settimeout(0.05)
        inside = f"http://rebind.test:{listener.getsockname()[1]}/secret"
        start = f"http://rebind.test:{server.url.rpartition(':')[2]}/goto/x?to={inside}"
        resolver = _Rebinding(["127.0.0.1"], ["127.0.0.2"])
        assert asyncio.run(_read(resolver, start)) == [ErrorClass.BLOCKED_SOURCE]
        assert server.asked["/goto/x"] == 1
        with pytest.raises(TimeoutError):
            listener.accept()


def test_a_name_with_several_addresses_connects_to_allowed_ones_only(server: FaultServer) -> None:
    port = server.url.rpartition(":")[2]
    uris = (f"http://both.test:{port}/ok/a", f"http://none.test:{port}/ok/b")
    resolver = _Rebinding(["10.0.0.1", "127.0.0.1"], ["10.0.0.1", "192.168.0.1"])
    assert asyncio.run(_read(resolver, *uris)) == [BODY, ErrorClass.BLOCKED_SOURCE]
    assert server.asked["/ok/b"] == 0


@pytest.mark.parametrize(
    ("uri", "sent"),
    [
        ("http://h/a%2Fb%20c?sig=a%2Bb%3D", "http://h/a%2Fb%20c?sig=a%2Bb%3D"),
        ("http://h/a b/ü.jpg", "http://h/a%20b/%C3%BC.jpg"),
        ("http://h/%2e%2e/x", "http://h/%2e%2e/x"),
    ],
)
def test_an_encoded_url_is_sent_letter_for_letter(uri: str, sent: str) -> None:
    assert str(parse_url(uri)) == sent
