"""What is refused before anything is asked, and where credentials may go."""

import pickle

import pytest
from pydantic import ValidationError

from operators.api_options import ApiOptions, resolved


@pytest.mark.parametrize(
    "endpoint",
    [
        "http://example.com",
        "http://10.0.0.1:8080",
        "ftp://127.0.0.1",
        "https://",
        "example.com",
        "https://user:secret@example.com",
        "https://example.com?key=secret",
        "http://127.0.0.1.example.com",
    ],
)
def test_an_endpoint_that_would_leak_is_refused(endpoint: str) -> None:
    with pytest.raises(ValidationError, match=r"https://HOST|plain http"):
        ApiOptions(endpoint=endpoint)


@pytest.mark.parametrize(
    ("endpoint", "anonymous"),
    [
        (None, False),
        ("https://private.example.com", False),
        ("https://127.0.0.1:8443", False),
        ("http://127.0.0.1:8080/", True),
        ("http://localhost:1", True),
        ("http://[::1]:1", True),
    ],
)
def test_only_a_plain_server_on_this_machine_gets_no_credentials(endpoint: str | None, anonymous: bool) -> None:
    assert ApiOptions(endpoint=endpoint).anonymous is anonymous


@pytest.mark.parametrize("project", ["a/../b", "My Project", "p?x=1", ""])
def test_a_project_or_location_cannot_change_the_path(project: str) -> None:
    with pytest.raises(ValidationError):
        ApiOptions(project=project)
    with pytest.raises(ValidationError):
        ApiOptions(location=project)


def test_resolved_options_travel() -> None:
    options = resolved(ApiOptions(project="demo", max_spend_usd=3))
    assert pickle.loads(pickle.dumps(options)) == options
    assert (options.project, options.max_spend_usd, options.location) == ("demo", 3.0, "us-central1")
