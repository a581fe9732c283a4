"""Application Default Credentials out of a key file, against a local token server: one token, shared and renewed."""

import asyncio
import ipaddress
import json
import ssl
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from operators.api.client import ApiClient
from operators.api.options import ApiError, ApiOptions
from operators.api.quota import LocalQuota, QuotaLimits
from operators.api.slots import NotAttemptedError
from operators.api.tokens import GoogleTokens
from operators.api.vertex import API
from operators.fetching.attempt import Attempts, FetchError
from operators.models.load import describe
from operators.models.spec import parse_model_name
from servers.served import Served
from servers.vertex import Arrival, Fault, VertexServer, error

MODEL = describe(parse_model_name("vertex:multimodalembedding@001/128"))
SCOPE = "https://www.googleapis.com/auth/cloud-platform"


class TokenServer(Served):
    """Hands out `secret-token-1`, `secret-token-2` and so on; `status` makes it refuse."""

    def __init__(self) -> None:
        self.given = 0
        self.status = 200
        super().__init__()

    async def answer(self, request: web.Request) -> web.Response:
        assert (await request.post())["grant_type"] == "urn:ietf:params:oauth:grant-type:jwt-bearer"
        await asyncio.sleep(0.05)
        if self.status != 200:
            return web.json_response({"error": "invalid_grant", "error_description": "disabled"}, status=self.status)
        self.given += 1
        return web.json_response({"access_token": f"secret-token-{self.given}", "expires_in": 3600})


@pytest.fixture(scope="module")
def made_key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


@pytest.fixture(scope="module")
def key(made_key: rsa.RSAPrivateKey) -> str:
    pem = made_key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return pem.decode()


@pytest.fixture(scope="module")
def certificate(made_key: rsa.RSAPrivateKey, key: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file with the key and a certificate of 127.0.0.1 that is signed by itself."""
    name, now = x509.Name([]), datetime.now(UTC)
    made = (
        x509.CertificateBuilder(name, name, made_key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=True)
        .sign(made_key, hashes.SHA256())
    )
    path = tmp_path_factory.mktemp("tls") / "server.pem"
    path.write_text(key + made.public_bytes(serialization.Encoding.PEM).decode())
    return path


@pytest.fixture
def tokens(key: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[TokenServer]:
    """The server that the credentials of this machine ask."""
    server = TokenServer()
    account = {
        "type": "service_account",
        "project_id": "demo",
        "private_key_id": "1",
        "private_key": key,
        "client_email": "robot@demo.iam.gserviceaccount.com",
        "token_uri": f"{server.url}/token",
    }
    (tmp_path / "key.json").write_text(json.dumps(account))
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path / "key.json"))
    yield server
    server.close()


async def _many(count: int, rejected: str | None = None) -> list[Any]:
    source = GoogleTokens([SCOPE], ThreadPoolExecutor(2))
    first = await asyncio.gather(*(source.token() for _ in range(count)), return_exceptions=True)
    return first if rejected is None else [*first, await source.token(rejected=rejected)]


def test_one_token_serves_all_requests(tokens: TokenServer) -> None:
    assert asyncio.run(_many(20)) == ["secret-token-1"] * 20
    assert tokens.given == 1


def test_a_rejected_token_is_replaced(tokens: TokenServer) -> None:
    assert asyncio.run(_many(1, rejected="secret-token-1")) == ["secret-token-1", "secret-token-2"]


def test_refused_credentials_are_an_error_without_the_key(tokens: TokenServer, key: str) -> None:
    tokens.status = 400
    [failed] = asyncio.run(_many(1))
    assert isinstance(failed, ApiError)
    assert "refuses the credentials" in str(failed)
    assert key[40:80] not in str(failed)


def test_a_token_server_that_is_away_is_tried_again_later(tokens: TokenServer) -> None:
    tokens.close()
    [failed] = asyncio.run(_many(1))
    assert isinstance(failed, FetchError)
    assert failed.transient


@pytest.mark.parametrize("name", ["none.json", ".", "binary.json"])
def test_no_credentials_say_how_to_get_them(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str) -> None:
    (tmp_path / "binary.json").write_bytes(b"\xff\xfe\x00")
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path / name))
    [failed] = asyncio.run(_many(1))
    assert isinstance(failed, ApiError)
    assert "gcloud auth application-default login" in str(failed)


def test_a_worker_without_the_package_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "google.auth", None)
    [failed] = asyncio.run(_many(1))
    assert isinstance(failed, ApiError)
    assert "pip install 'pixlake[vertex]'" in str(failed)


@pytest.fixture
def api(certificate: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[VertexServer]:
    """Speaks https, which alone is sent a token. The machine trusts its certificate."""
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.load_cert_chain(certificate)
    server = VertexServer(tls=tls)
    yield server
    server.close()


def ask(api: VertexServer) -> Any:
    return ask_at(api.url)


def ask_at(endpoint: str) -> Any:
    options = ApiOptions(project="demo", endpoint=endpoint)
    client = ApiClient(MODEL, options, LocalQuota(QuotaLimits(requests_per_minute=60_000, max_images=None)))
    try:
        return client.ask(API.text_request("colour 1 2 3", 128), Attempts()).result()
    finally:
        client.close()


def test_a_revoked_token_is_renewed_once(tokens: TokenServer, api: VertexServer) -> None:
    old = error(401, "UNAUTHENTICATED", "invalid authentication credentials")
    api.act = lambda arrival: old if arrival.authorization == "Bearer secret-token-1" else None
    assert ask(api).shape == (128,)
    assert [arrival.authorization for arrival in api.arrivals] == ["Bearer secret-token-1", "Bearer secret-token-2"]


@pytest.mark.parametrize("echoed", ["bad header Authorization: Bearer {}", "invalid {} given", "token={}", "{}"])
def test_a_token_that_is_never_accepted_ends_it_and_is_not_shown(
    tokens: TokenServer, api: VertexServer, echoed: str
) -> None:
    def echo(arrival: Arrival) -> Fault:
        assert arrival.authorization
        return error(401, "UNAUTHENTICATED", echoed.format(arrival.authorization.removeprefix("Bearer ")))

    api.act = echo
    with pytest.raises(NotAttemptedError, match="refuses every request: HTTP 401") as caught:
        ask(api)
    assert len(api.arrivals) == 2
    assert "secret-token" not in str(caught.value)


@pytest.mark.parametrize("host", ["no-such-host.invalid", "x" * 64 + ".example"])
def test_a_host_that_does_not_exist_stops_the_run(tokens: TokenServer, host: str) -> None:
    with pytest.raises(NotAttemptedError, match=r"cannot be asked: .*check api\.endpoint"):
        ask_at(f"https://{host}")


def test_a_certificate_that_is_not_trusted_stops_the_run(
    tokens: TokenServer, api: VertexServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SSL_CERT_FILE")
    with pytest.raises(NotAttemptedError, match=r"cannot be asked: certificate of 127\.0\.0\.1 refused"):
        ask(api)
    assert not api.arrivals


def test_plain_http_gets_no_token(tokens: TokenServer) -> None:
    server = VertexServer()
    try:
        ask(server)
    finally:
        server.close()
    assert server.arrivals[0].authorization is None
    assert tokens.given == 0
