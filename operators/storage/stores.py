"""How every object store is opened: one set of options gives all three engines the same endpoint and credentials.

obstore reads images, fsspec reads manifests and run files, Lance reads and writes tables. Each has option names of its
own; here the s3fs names, which people already have in their configuration, are turned into each engine's.
"""

import os
from collections.abc import Callable, Mapping
from datetime import timedelta
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Literal, NamedTuple
from urllib.parse import urlsplit

from obstore.store import AzureStore, GCSStore, LocalStore, S3Store
from pydantic import BaseModel, ConfigDict, SecretStr, field_validator, model_validator

from operators.storage.credentials import ChainCredentials, botocore_session
from operators.storage.uris import StorageError as StorageError
from operators.storage.uris import split_uri

if TYPE_CHECKING:
    from obstore.store import GCSConfig, S3Config, S3Credential

ObjectStore = S3Store | GCSStore | AzureStore | LocalStore

_READ_FROM_ENVIRONMENT = (
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "AWS_PROFILE",
    "AWS_ENDPOINT_URL_S3",
    "AWS_ENDPOINT_URL",
    "AWS_REGION",
    "AWS_DEFAULT_REGION",
    "AWS_CONFIG_FILE",
    "AWS_SHARED_CREDENTIALS_FILE",
)


class StorageOptions(BaseModel):
    """Where an object store is and who asks, in s3fs's words. An empty one means the usual environment and profiles.

    On `gs://`, `token` is the path of a service-account or application-default JSON file. Secrets survive pickling and
    are masked in `repr` and in every dump.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    anon: bool = False
    """Send unsigned requests, for public buckets."""
    key: SecretStr | None = None
    secret: SecretStr | None = None
    token: SecretStr | None = None
    profile: str | None = None
    endpoint_url: str | None = None
    region: str | None = None
    requester_pays: bool = False
    """Say with each request to S3 that whoever asks pays for it."""
    addressing_style: Literal["path", "virtual"] = "path"
    """Where an S3 bucket is named: `https://HOST/BUCKET`, or `https://BUCKET.HOST`."""

    @model_validator(mode="before")
    @classmethod
    def _fold_client_kwargs(cls, data: Any) -> Any:
        if not isinstance(data, Mapping) or "client_kwargs" not in data:
            return data
        folded = {k: v for k, v in data.items() if k != "client_kwargs"}
        names = {"endpoint_url": "endpoint_url", "region_name": "region"}
        for name, value in dict(data["client_kwargs"] or {}).items():
            if name not in names:
                raise ValueError(f"client_kwargs.{name} is not supported; supported: {', '.join(names)}")
            if folded.setdefault(names[name], value) != value:
                raise ValueError(f"client_kwargs.{name} and {names[name]} differ; give one of them")
        return folded

    @field_validator("endpoint_url")
    @classmethod
    def _check_endpoint(cls, value: str | None) -> str | None:
        if value is None:
            return None
        parts = urlsplit(value)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError("endpoint_url must be http://HOST[:PORT] or https://HOST[:PORT]")
        if "@" in parts.netloc or parts.query:
            raise ValueError("endpoint_url must not hold credentials; use key, secret and token")
        return value.rstrip("/")

    @model_validator(mode="after")
    def _check_credentials(self) -> "StorageOptions":
        if (self.key is None) != (self.secret is None):
            raise ValueError("key and secret belong together: give both or neither")
        if self.anon and (self.key or self.profile or self.token):
            raise ValueError("anon: true sends no credentials; leave out key, secret, token and profile")
        if self.key and self.profile:
            raise ValueError("give either key and secret, or profile")
        return self


NO_OPTIONS = StorageOptions()


def object_store(
    uri: str, options: StorageOptions = NO_OPTIONS, *, max_retries: int = 10, timeout_s: float = 30.0
) -> tuple[ObjectStore, str]:
    """(the obstore store of the URI's bucket, the key within it). Thread-safe, cached per process; about 10 us.

    `timeout_s` bounds one request with its body. Raises `StorageError` for a scheme that is not an object store's and
    for missing credentials.
    """
    scheme, bucket, key = split_uri(uri)
    if scheme == "file":
        return _open_local(), os.path.abspath(key).lstrip("/")
    environment = tuple(os.environ.get(name) for name in _READ_FROM_ENVIRONMENT) if scheme == "s3" else ()
    return _open_store(scheme, bucket, options, max_retries, timeout_s, environment), key


def renew_object_stores() -> None:
    """Forget every open store, so that the next call reads credentials again (a rotated file, an expired session)."""
    _open_store.cache_clear()


def filesystem(uri: str, options: StorageOptions = NO_OPTIONS) -> tuple[Any, str]:
    """(the fsspec file system of the URI, the path within it). For manifests and run files, not for images."""
    import fsspec

    scheme, bucket, key = ("http", "", "") if uri.startswith(("http://", "https://")) else split_uri(uri)
    if scheme == "http":
        return fsspec.filesystem("http"), uri
    if scheme == "file":
        return fsspec.filesystem("file"), os.path.abspath(key)
    path = f"{bucket}/{key}" if key else bucket
    if scheme == "s3":
        return fsspec.filesystem("s3", **_s3fs_arguments(options)), path
    extras = {"gs": ("gs", "pip install 'pixlake[gcs]'"), "az": ("az", "pip install 'pixlake[azure]'")}
    if scheme not in extras:
        raise StorageError(f"no file system for {scheme}://; use a local path, s3://, gs://, az:// or https://")
    protocol, install = extras[scheme]
    token = "anon" if options.anon else _reveal(options.token)
    arguments = {"token": token} if scheme == "gs" and token else {}
    try:
        return fsspec.filesystem(protocol, **arguments), path
    except ImportError as error:
        raise StorageError(f"{scheme}:// files need one more package: {install}") from error


def lance_options(uri: str, options: StorageOptions = NO_OPTIONS) -> dict[str, str] | None:
    """`storage_options` for Lance and LanceDB; None where the environment says everything. Holds secrets: never log it.

    A named profile is resolved here, and its temporary credentials expire: call this again for each open.
    """
    scheme, bucket, _ = split_uri(uri)
    found: dict[str, str] = {}
    if scheme == "s3":
        place = s3_place(options)
        if place.endpoint_url:
            found["aws_endpoint"] = _endpoint_of(bucket, place.endpoint_url, options)
            found["aws_virtual_hosted_style_request"] = str(options.addressing_style == "virtual").lower()
            found["allow_http"] = str(place.endpoint_url.startswith("http://")).lower()
        if place.region or place.endpoint_url:
            found["aws_region"] = place.region or "us-east-1"
        if options.requester_pays:
            found["aws_request_payer"] = "true"
        if options.anon:
            found["aws_skip_signature"] = "true"
        elif options.key or options.profile:
            credentials = ChainCredentials(options.profile)() if options.profile else _static_credentials(options)
            found["aws_access_key_id"] = credentials["access_key_id"]
            found["aws_secret_access_key"] = credentials["secret_access_key"]
            if token := credentials.get("token"):
                found["aws_session_token"] = token
    elif scheme == "gs" and options.token:
        found["google_application_credentials"] = _reveal(options.token) or ""
    return found or None


class S3Place(NamedTuple):
    endpoint_url: str | None
    region: str | None


def s3_place(options: StorageOptions) -> S3Place:
    """(endpoint, region): the options', else the environment's, else the profile's."""
    env = os.environ.get
    endpoint = options.endpoint_url or env("AWS_ENDPOINT_URL_S3") or env("AWS_ENDPOINT_URL")
    region = options.region or env("AWS_REGION") or env("AWS_DEFAULT_REGION")
    if (endpoint and region) or not (options.profile or env("AWS_PROFILE")):
        return S3Place(endpoint, region)
    scoped = botocore_session(options.profile).get_scoped_config()
    return S3Place(endpoint or scoped.get("endpoint_url"), region or scoped.get("region"))


def _s3fs_arguments(options: StorageOptions) -> dict[str, Any]:
    place = s3_place(options)
    arguments: dict[str, Any] = {"anon": options.anon}
    for name in ("key", "secret", "token"):
        if (value := _reveal(getattr(options, name))) is not None:
            arguments[name] = value
    if options.profile:
        arguments["profile"] = options.profile
    if place.endpoint_url:
        arguments["endpoint_url"] = place.endpoint_url
    if options.requester_pays:
        arguments["requester_pays"] = True
    if options.addressing_style == "virtual":
        arguments["config_kwargs"] = {"s3": {"addressing_style": "virtual"}}
    if place.region:
        arguments["client_kwargs"] = {"region_name": place.region}
    return arguments


@lru_cache(maxsize=1)
def _open_local() -> LocalStore:
    return LocalStore()


@lru_cache(maxsize=1024)
def _open_store(
    scheme: str, bucket: str, options: StorageOptions, max_retries: int, timeout_s: float, _environment: tuple[Any, ...]
) -> ObjectStore:
    client: dict[str, Any] = {"connect_timeout": timedelta(seconds=5), "timeout": timedelta(seconds=timeout_s)}
    shared: dict[str, Any] = {"client_options": client, "retry_config": {"max_retries": max_retries}}
    if scheme == "s3":
        return _open_s3(bucket, options, shared)
    if scheme == "gs":
        config: GCSConfig = {"skip_signature": True} if options.anon else {}
        if options.token:
            config["application_credentials"] = options.token.get_secret_value()
        return GCSStore(bucket, config=config, **shared)
    if scheme == "az":
        return AzureStore(bucket, config={"skip_signature": True} if options.anon else {}, **shared)
    raise StorageError(f"{scheme}:// is no object store; use s3://, gs:// or az://")


def _open_s3(bucket: str, options: StorageOptions, shared: dict[str, Any]) -> S3Store:
    place = s3_place(options)
    config: S3Config = {
        "region": place.region or "us-east-1",
        "virtual_hosted_style_request": options.addressing_style == "virtual",
    }
    if options.requester_pays:
        config["request_payer"] = True
    if place.endpoint_url:
        config["endpoint"] = _endpoint_of(bucket, place.endpoint_url, options)
        shared["client_options"]["allow_http"] = place.endpoint_url.startswith("http://")
    credentials = s3_credentials(options)
    if credentials is None:
        return S3Store(bucket, config={**config, "skip_signature": True}, **shared)
    return S3Store(bucket, config=config, credential_provider=credentials, **shared)


def _endpoint_of(bucket: str, endpoint_url: str, options: StorageOptions) -> str:
    """The endpoint as object_store wants it: with the bucket in its host where that is where it belongs."""
    scheme, _, host = endpoint_url.partition("://")
    return f"{scheme}://{bucket}.{host}" if options.addressing_style == "virtual" else endpoint_url


def s3_credentials(options: StorageOptions) -> "Callable[[], S3Credential] | None":
    """What gives the credentials of each request; None for requests without. Raises `StorageError` where there are
    none."""
    if options.anon:
        return None
    if options.key:
        credentials = _static_credentials(options)
        return lambda: credentials
    return ChainCredentials(options.profile)


def _static_credentials(options: StorageOptions) -> "S3Credential":
    return {
        "access_key_id": _reveal(options.key) or "",
        "secret_access_key": _reveal(options.secret) or "",
        "token": _reveal(options.token),
        "expires_at": None,
    }


def _reveal(secret: SecretStr | None) -> str | None:
    return None if secret is None else secret.get_secret_value()
