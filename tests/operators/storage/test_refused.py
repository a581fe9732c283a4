"""What is said of a store that refuses whoever asks."""

from typing import Any

import pytest

from operators.storage.refused import refused_credentials
from operators.storage.stores import StorageOptions

LANCE = (
    "LanceError(IO): Generic S3 error: Error performing GET http://127.0.0.1/b?prefix=t in 2 ms - Server returned "
    "non-2xx status code: 403 Forbidden: <Error><Code>SignatureDoesNotMatch</Code><Message>Check your key</Message>"
)
GCS = "The operation lacked the necessary privileges to complete for path t.lance"
SECRET = "sEcret0fTheStore"


@pytest.fixture(autouse=True)
def no_credentials_around(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize(
    ("options", "environment", "whose"),
    [
        ({"key": "AKEY", "secret": SECRET}, {"AWS_PROFILE": "other"}, "key and secret of the storage options"),
        ({"profile": "lake"}, {"AWS_ACCESS_KEY_ID": "AKEY"}, "those of the profile 'lake', of the storage options"),
        ({}, {"AWS_ACCESS_KEY_ID": "AKEY"}, "those of AWS_ACCESS_KEY_ID in the environment"),
        ({}, {"AWS_PROFILE": "nightly"}, "those of the profile 'nightly', by AWS_PROFILE"),
        ({}, {}, "those of the default profile or role"),
    ],
)
def test_it_is_said_whose_they_are_and_not_what(
    options: dict[str, Any], environment: dict[str, str], whose: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    said = refused_credentials(LANCE, "s3://b/t.lance", StorageOptions(**options))
    assert said == f"refuses the credentials (SignatureDoesNotMatch), which are {whose}"


def test_other_stores_say_it_in_words() -> None:
    said = refused_credentials(GCS, "gs://b/t.lance", StorageOptions())
    assert said == "refuses the credentials, which are those of the environment"


def test_a_store_that_is_not_public_wants_some() -> None:
    said = refused_credentials(LANCE, "s3://b/t.lance", StorageOptions(anon=True))
    assert said == "refuses requests without credentials (SignatureDoesNotMatch); leave out anon: true"


@pytest.mark.parametrize("error", ["503 Service Unavailable", "Object at location t was not found", "row 403"])
def test_what_else_may_be_wrong_is_not_taken_for_it(error: str) -> None:
    assert refused_credentials(error, "s3://b/t.lance", StorageOptions()) is None
