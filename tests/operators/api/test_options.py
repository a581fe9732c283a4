"""What is refused before anything is asked, and where credentials may go."""

import pickle
import sys
from importlib.abc import MetaPathFinder

import pytest
from pydantic import ValidationError

from operators.api.options import ApiError, ApiOptions, resolved


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
        "HTTP://example.com",
        "https://example.com#fragment",
        "https://example.com/?",
        "https://example.com:99999",
        "https://example.com:port",
        "https://exam ple.com",
        "https://example.com\n.evil.com",
        "https://@example.com",
    ],
)
def test_an_endpoint_that_would_leak_is_refused(endpoint: str) -> None:
    with pytest.raises(ValidationError, match=r"must be https://HOST|plain http"):
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
        ("HTTP://127.0.0.1:8080", True),
        ("HTTP://LocalHost:1", True),
        ("HTTPS://Private.Example.com", False),
    ],
)
def test_only_a_plain_server_on_this_machine_gets_no_credentials(endpoint: str | None, anonymous: bool) -> None:
    assert ApiOptions(endpoint=endpoint).anonymous is anonymous


def test_an_endpoint_is_kept_in_one_spelling() -> None:
    assert ApiOptions(endpoint="HTTPS://Private.Example.com:443/Path/").endpoint == (
        "https://private.example.com:443/Path"
    )


@pytest.mark.parametrize("project", ["my-project-1", "12345", "example.com:my-project"])
def test_the_project_may_be_the_environments(monkeypatch: pytest.MonkeyPatch, project: str) -> None:
    monkeypatch.setenv("GOOGLE_CLOUD_PROJECT", project)
    assert resolved(ApiOptions(endpoint="http://127.0.0.1:1")).project == project


@pytest.mark.parametrize("project", ["My Project", "..", "a/b", "a..b"])
def test_a_bad_project_of_the_environment_is_named_by_its_variable(
    monkeypatch: pytest.MonkeyPatch, project: str
) -> None:
    monkeypatch.setenv("GOOGLE_CLOUD_PROJECT", project)
    with pytest.raises(ApiError, match="GOOGLE_CLOUD_PROJECT is"):
        resolved(ApiOptions(endpoint="http://127.0.0.1:1"))


@pytest.mark.parametrize("project", ["a/../b", "My Project", "p?x=1", "", "..", "a..b", ".a"])
def test_a_project_or_location_cannot_change_the_path(project: str) -> None:
    with pytest.raises(ValidationError):
        ApiOptions(project=project)
    with pytest.raises(ValidationError):
        ApiOptions(location=project)


@pytest.mark.parametrize("missing", ["google", "google.auth", "requests"])
def test_a_missing_package_shows_in_the_plan(monkeypatch: pytest.MonkeyPatch, missing: str) -> None:
    for name in [name for name in sys.modules if name == missing or name.startswith(f"{missing}.")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(sys, "meta_path", [Without(missing), *sys.meta_path])
    with pytest.raises(ApiError, match=r"pip install 'pixlake\[vertex\]'"):
        resolved(ApiOptions(project="demo"))
    assert resolved(ApiOptions(project="demo", endpoint="http://127.0.0.1:1")).anonymous, "which needs no credentials"


class Without(MetaPathFinder):
    """An interpreter in which one package is not installed."""

    def __init__(self, missing: str) -> None:
        self.missing = missing

    def find_spec(self, name: str, path: object, target: object = None) -> None:
        if name == self.missing:
            raise ModuleNotFoundError(name)


def test_resolved_options_travel() -> None:
    options = resolved(ApiOptions(project="demo", max_spend_usd=3))
    assert pickle.loads(pickle.dumps(options)) == options
    assert (options.project, options.max_spend_usd, options.location) == ("demo", 3.0, "us-central1")
