"""No secret of a URI or an error text gets through; everything else does, unchanged."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from operators.storage.redact import reason_of, redact, redact_uri, redact_value

CANARY = "c4nary5ecret"
AWS_SECRET = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"
GOOGLE_TOKEN = "ya29.c.b0AXv0zTPexample-_0123456789"

SIGNED = [
    (f"https://u:{CANARY}@h/a.jpg", "https://h/a.jpg"),
    (f"https://u:p@{CANARY}@h:8/a@b.jpg?v=1@2", "https://h:8/a@b.jpg?v=1@2"),
    (f"https://h/a?w=1&X-Amz-Credential=A%2F1&X-Amz-Signature={CANARY}&h=2", "https://h/a?w=1&h=2"),
    (f"https://h/a?x-amz-security-token={CANARY}", "https://h/a"),
    (f"https://h/a?X%2DAmz%2DSignature={CANARY}#top", "https://h/a#top"),
    (f"https://h/a?X-Goog-Signature={CANARY}&X-Goog-Expires=60", "https://h/a"),
    (f"https://h/a?AWSAccessKeyId=AK&Expires=17&Signature={CANARY}", "https://h/a"),
    (
        f"https://acc.blob.core.windows.net/c/b.jpg?sv=2024&se=2026&sr=b&sig={CANARY}",
        "https://acc.blob.core.windows.net/c/b.jpg",
    ),
    (f"https://h/a?token={CANARY};id=3", "https://h/a?id=3"),
    (f"https://h/a#access_token={CANARY}", "https://h/a"),
    (f"https://h?api_key={CANARY}", "https://h"),
    (f"https://h/a?subscription-key={CANARY}&w=2", "https://h/a?w=2"),
    (f"https://h/a?hdnts=st=1~exp=2~acl=/*~hmac={CANARY}", "https://h/a"),
    (f"https://h/a?md5={CANARY}&expires=1893456000&w=2", "https://h/a?w=2"),
    (f"https://h/a.jpg?_nc_cat=1&oh={CANARY}&oe=65F0", "https://h/a.jpg?_nc_cat=1&oe=65F0"),
]


@pytest.mark.parametrize(("uri", "expected"), SIGNED)
def test_a_stored_uri_has_no_secret_and_keeps_the_rest(uri: str, expected: str) -> None:
    assert redact_uri(uri) == expected
    assert redact_uri(expected) == expected


@pytest.mark.parametrize(
    "uri",
    [
        "s3://bucket/a b/ü?x=1#y%20.jpg",
        "https://h/a.jpg?expires=soon&size=2&&flag",
        "/photos/a@b.jpg",
        "file:///a?b=c",
        "https://h/p@th/a.jpg#frame=2",
        "https://h/a?md5=0cc175b9c0f1b6a831c399e269772661",
        "https://h/a?hash=92eb5ffee6ae2fec3ad71c777531578f&key=photos/1.jpg",
        "a,b",
        "",
    ],
)
def test_a_uri_without_secrets_comes_back_as_it_is(uri: str) -> None:
    assert redact_uri(uri) == uri


@pytest.mark.parametrize(
    ("value", "kept"),
    [
        *SIGNED,
        (f"s3://u:{CANARY}@bucket/a?code=1.jpg", "s3://bucket/a?code=1.jpg"),
        ("see https://h/a?token=none of ours", "see https://h/a?token=none of ours"),
        ("a?token=1", "a?token=1"),
    ],
)
def test_a_value_of_a_manifest_is_changed_only_where_it_is_a_uri_with_secrets(value: str, kept: str) -> None:
    assert redact_value(value) == kept


@pytest.mark.parametrize(
    "text",
    [
        *(f"GET {uri} failed: 403" for uri, _ in SIGNED),
        f"Authorization: Bearer {CANARY}",
        f"authorization: basic {CANARY}",
        f"aws_secret_access_key = {CANARY}",
        f'{{"secret": "{CANARY}"}}',
        f"<SessionToken>x</SessionToken> session_token={CANARY}",
        f"x-amz-security-token: {CANARY}",
        f"password:{CANARY}",
        f"redis://:{CANARY}@host/0",
    ],
)
def test_no_secret_is_left_in_a_text(text: str) -> None:
    assert CANARY not in redact(text)


@pytest.mark.parametrize(
    "secret", [AWS_SECRET, "AKIAIOSFODNN7EXAMPLE", "eyJhbGciOiJI.eyJzdWIiOiIx.SflKxwRJSM", GOOGLE_TOKEN]
)
def test_values_that_look_like_secrets_are_masked_anywhere(secret: str) -> None:
    assert redact(f"the key {secret}, was refused") == "the key ***, was refused"


@pytest.mark.parametrize(
    "text",
    [
        "no such key: photos/2024/IMG_0001.jpg",
        "https://h/a.jpg?size=2 answered 404",
        "sha1 da39a3ee5e6b4b0d3255bfef95601890afd80709",
        "Content-Length 100, got 50 bytes after 3 attempts",
        "no file /data/photos/a@b.jpg",
    ],
)
def test_ordinary_errors_stay_readable(text: str) -> None:
    assert redact(text) == text


@given(st.text(alphabet="ab:/?#&;=@%. \n", max_size=60))
def test_redaction_never_fails_and_settles_at_once(text: str) -> None:
    assert redact_uri(redact_uri(text)) == redact_uri(text)
    assert redact(redact(text)) == redact(text)


@pytest.mark.parametrize("unit", ["x-amz-", "://", "a=:", "eyJ-", "ya29.", "tokentoken-", "?token=&", "A1a/"])
def test_a_megabyte_of_near_secrets_takes_no_longer_than_its_length(unit: str) -> None:
    started = time.process_time()
    redact(unit * (1_000_000 // len(unit)))
    assert time.process_time() - started < 5


def test_an_error_of_the_object_store_ends_before_its_structures() -> None:
    error = OSError('Generic GCS error: 403 Forbidden\n\nDebug source:\nGeneric { store: "GCS", source: X }')
    assert reason_of(error) == "Generic GCS error: 403 Forbidden"
