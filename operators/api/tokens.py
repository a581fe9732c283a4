"""Bearer tokens of Google's Application Default Credentials, one for all requests of a client."""

import asyncio
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from operators.api.options import NEEDS_EXTRA, ApiError
from operators.base.errors import ErrorClass
from operators.fetching.attempt import FetchError
from operators.storage.redact import reason_of


class GoogleTokens:
    """Google's tokens. Belongs to one event loop. Files, metadata servers and token servers are asked in a thread, once
    for all requests."""

    def __init__(self, scopes: Sequence[str], threads: ThreadPoolExecutor) -> None:
        self._scopes = list(scopes)
        self._threads = threads
        self._lock = asyncio.Lock()
        self._credentials: Any = None

    async def token(self, rejected: str | None = None) -> str:
        """A valid token, other than `rejected`.

        Raises `ApiError` where there are no credentials or they are refused, `FetchError` where the token server cannot
        be reached.
        """
        async with self._lock:
            credentials = self._credentials
            if credentials is None or not credentials.valid or credentials.token == rejected:
                await asyncio.get_running_loop().run_in_executor(self._threads, self._refresh)
            return str(self._credentials.token)

    def _refresh(self) -> None:
        try:
            import google.auth
            from google.auth import exceptions
            from google.auth.transport.requests import Request
        except ImportError as error:
            raise ApiError(f"{NEEDS_EXTRA} ({error})") from None
        try:
            if self._credentials is None:
                self._credentials, _ = google.auth.default(scopes=self._scopes)
            self._credentials.refresh(Request())
        except exceptions.DefaultCredentialsError as error:
            raise _no_credentials(error) from None
        except exceptions.GoogleAuthError as error:
            if isinstance(error, exceptions.TransportError) or error.retryable:
                raise FetchError(ErrorClass.UNAVAILABLE, f"no token: {_cleaned(error)}", transient=True) from None
            raise ApiError(f"Google refuses the credentials of this machine: {_cleaned(error)}") from None
        except (OSError, ValueError) as error:
            # A folder or an unreadable file is not google-auth's own kind of error.
            raise _no_credentials(error) from None


def _no_credentials(error: Exception) -> ApiError:
    return ApiError(
        f"no Google credentials on this machine ({_cleaned(error)}): set GOOGLE_APPLICATION_CREDENTIALS to a "
        "key file, run `gcloud auth application-default login`, or use a machine with a service account"
    )


def _cleaned(error: Exception) -> str:
    return reason_of(error)


class NoTokens:
    """No credentials, for a server on this machine."""

    async def token(self, rejected: str | None = None) -> None:
        return None
