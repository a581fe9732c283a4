"""Files of the Hugging Face hub: downloaded once per node into huggingface_hub's own cache, then read offline."""

import os
import re
import sys
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple

from huggingface_hub import constants, get_hf_file_metadata, hf_hub_download, hf_hub_url, try_to_load_from_cache
from huggingface_hub.errors import (
    EntryNotFoundError,
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    LocalEntryNotFoundError,
    RemoteEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from operators.models.spec import HUB_SCHEME, ModelError, ModelSpec
from operators.models.weights.cache import locked
from operators.models.weights.reach import check_reached
from operators.storage.redact import reason_of

_COMMIT = re.compile(r"[0-9a-f]{40}")


class NotOnHub(ModelError):
    """The repository has no file of this name; it may have another."""


class HubUnreachable(ModelError):
    """No answer from the hub, and no copy in the cache."""


class HubFile(NamedTuple):
    path: str
    uri: str
    """`hf://OWNER/NAME/FILENAME@COMMIT`: the same bytes on every node and every day."""


class _AtHub(NamedTuple):
    repo: str
    filename: str
    revision: str

    @property
    def pinned(self) -> bool:
        return _COMMIT.fullmatch(self.revision) is not None

    def __str__(self) -> str:
        return f"{HUB_SCHEME}{self.repo}/{self.filename}@{self.revision}"


def hub_file(spec: ModelSpec, uri: str) -> HubFile:
    """The file behind `hf://OWNER/NAME/FILENAME[@REVISION]` on this node; the default revision is `main`.

    A file of a commit that is in the cache is opened without any request. A branch or tag is asked for each time; when
    the hub does not give it, the revision in the cache is used and stderr says so. Processes that want the same file
    wait for the first one's download. Raises `NotOnHub`, `HubUnreachable`, else `ModelError`.
    """
    place = _parsed(spec, uri)
    try:
        path = _cached(place) or _downloaded(place)
    except Exception as error:
        raise _explained(spec, place, error) from error
    commit = Path(path).parents[place.filename.count("/")].name
    return HubFile(path, str(place._replace(revision=commit)))


def in_cache(spec: ModelSpec, uri: str) -> bool:
    """Whether the file is on this node, as it was last seen."""
    place = _parsed(spec, uri)
    return isinstance(try_to_load_from_cache(place.repo, place.filename, revision=place.revision), str)


def check_reached_for(repository: str, filename: str) -> None:
    """For libraries that download by themselves: raises `HostSilent` where a file is not in this node's cache and the
    hub's host cannot be reached."""
    if not constants.HF_HUB_OFFLINE and try_to_load_from_cache(repository, filename) is None:
        check_reached(constants.ENDPOINT)


def _parsed(spec: ModelSpec, uri: str) -> _AtHub:
    body, _, revision = uri.removeprefix(HUB_SCHEME).partition("@")
    owner, _, rest = body.partition("/")
    name, _, filename = rest.partition("/")
    if not (owner and name and filename):
        raise ModelError(f"model {spec.name!r}: {uri} names no file; write hf://OWNER/NAME/FILENAME[@REVISION]")
    return _AtHub(f"{owner}/{name}", filename, revision or "main")


def _cached(place: _AtHub) -> str | None:
    """The cached file of a commit, or of the branch as last seen where the hub does not give it."""
    found = try_to_load_from_cache(place.repo, place.filename, revision=place.revision)
    if found is None:
        return None
    if not place.pinned:
        refusal = _refusal(place)
        if refusal is None:
            return None
        if isinstance(found, str) and not constants.HF_HUB_OFFLINE:
            line = f"pixlake: the hub does not give {place} ({refusal}); it is taken as it is in this node's cache"
            print(line, file=sys.stderr)
    if not isinstance(found, str):
        raise EntryNotFoundError
    return found


def _refusal(place: _AtHub) -> str | None:
    """Why the hub does not say which commit the branch is at; huggingface_hub would silently take the last one."""
    try:
        get_hf_file_metadata(hf_hub_url(place.repo, place.filename, revision=place.revision))
    except (RevisionNotFoundError, RemoteEntryNotFoundError, HFValidationError):
        raise
    except Exception as error:
        return _reason(error) or type(error).__name__
    return None


def _reason(error: BaseException) -> str:
    return reason_of(error)


def _downloaded(place: _AtHub) -> str:
    if not constants.HF_HUB_OFFLINE:
        # Outside the lock: processes that wait for a host that is not there do so side by side.
        check_reached(constants.ENDPOINT)
    folder = Path(constants.HF_HUB_CACHE) / ".locks" / f"models--{place.repo.replace('/', '--')}"
    with locked(folder / f"pixlake-{sha256(place.filename.encode()).hexdigest()[:16]}.lock"):
        return hf_hub_download(place.repo, place.filename, revision=place.revision)


def _explained(spec: ModelSpec, place: _AtHub, error: Exception) -> ModelError:
    # "Check your connection": what went wrong is behind it.
    cause = error.__cause__ if isinstance(error, LocalEntryNotFoundError) and error.__cause__ else error
    reason = _reason(cause)
    page = f"{constants.ENDPOINT}/{place.repo}"
    # Not a 403 of the content delivery network, or of a proxy before it: those know no accounts.
    refused = (
        isinstance(error, HfHubHTTPError)
        and error.response.status_code in (401, 403)
        and str(error.response.url).startswith(constants.ENDPOINT)
    )
    start = f"model {spec.name!r}: {place}"
    if isinstance(error, GatedRepoError):
        return ModelError(
            f"{start} is gated: accept its licence at {page} with your account, and set HF_TOKEN to a token of that "
            "account on the machine that starts the run and on every node; or name a weights file with @PATH"
        )
    if isinstance(error, RepositoryNotFoundError) or refused:
        return ModelError(
            f"{start} cannot be read: there is no repository {place.repo}, or it is private, or HF_TOKEN is wrong "
            f"({reason}). Check the name, and set HF_TOKEN to a token that may read {page}; or name a weights file "
            "with @PATH"
        )
    if isinstance(error, RevisionNotFoundError):
        return ModelError(f"{start} cannot be read: {place.repo} has no revision {place.revision!r}")
    if isinstance(error, EntryNotFoundError) and not isinstance(error, LocalEntryNotFoundError):
        return NotOnHub(f"{start} is not there: {place.repo} has no file {place.filename!r}")
    if isinstance(error, HFValidationError):
        return ModelError(f"{start} is no name of the hub: {reason}")
    if constants.HF_HUB_OFFLINE:
        return HubUnreachable(
            f"{start} is not in this node's cache, {constants.HF_HUB_CACHE}, and HF_HUB_OFFLINE is set. Unset it, "
            "copy the cache of a machine that has the file, or name a weights file with @PATH"
        )
    if isinstance(error, OSError) and error.errno:
        folder = os.fspath(constants.HF_HUB_CACHE)
        return ModelError(f"{start} cannot be stored in {folder}: {os.strerror(error.errno)}. Set HF_HOME to another")
    return HubUnreachable(
        f"{start} could not be downloaded ({reason}). Check the network (proxy, firewall, HF_ENDPOINT), or name a "
        "weights file with @PATH"
    )
