"""AWS credentials for obstore from botocore's chain, so that profiles, SSO and roles work as they do in s3fs."""

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from operators.storage.uris import StorageError

if TYPE_CHECKING:
    from obstore.store import S3Credential

_TTL = timedelta(minutes=9)
"""Lifetime told to obstore, which asks again 5 minutes before it ends; botocore gives out nothing with less than 10
minutes left."""


class ChainCredentials:
    """obstore's credential callback: what botocore finds for the profile, or for the environment when it is None.

    botocore's chain holds every source that obstore's own has. Raises `StorageError` at once where it finds nothing,
    instead of asking the instance metadata service for a minute.
    """

    def __init__(self, profile: str | None) -> None:
        where = f"profile {profile!r}" if profile else "the environment"
        try:
            self._credentials = botocore_session(profile).get_credentials()
        except Exception as error:
            raise StorageError(f"AWS credentials of {where} cannot be read: {error}") from error
        if self._credentials is None:
            raise StorageError(
                f"no AWS credentials in {where}; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY or AWS_PROFILE, "
                "or the storage option anon=true for a public bucket"
            )

    def __call__(self) -> "S3Credential":
        frozen = self._credentials.get_frozen_credentials()
        return {
            "access_key_id": frozen.access_key,
            "secret_access_key": frozen.secret_key,
            "token": frozen.token,
            "expires_at": datetime.now(UTC) + _TTL,
        }


def botocore_session(profile: str | None) -> Any:
    """A new botocore session; reads configuration files when first asked."""
    import botocore.session

    return botocore.session.Session(profile=profile)
