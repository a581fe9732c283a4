"""Whether a store has refused whoever asked, and whose credentials those were: told without the credentials."""

import os
import re

from operators.storage.stores import StorageOptions
from operators.storage.uris import split_uri

_REFUSED = re.compile(
    r"\b40[13] (?:Forbidden|Unauthorized)\b|lacked (?:the necessary privileges|valid authentication credentials)"
)
_CODE = re.compile(r"<Code>(\w{1,100})</Code>")


def refused_credentials(error: str, uri: str, options: StorageOptions) -> str | None:
    """`refuses the credentials (CODE), which are ...`, of an error of Lance's or obstore's about a URI; None where it
    is about something else."""
    if not _REFUSED.search(error):
        return None
    code = _CODE.search(error)
    why = f" ({code[1]})" if code else ""
    if options.anon:
        return f"refuses requests without credentials{why}; leave out anon: true"
    return f"refuses the credentials{why}, which are {_whose(uri, options)}"


def _whose(uri: str, options: StorageOptions) -> str:
    if options.key:
        return "key and secret of the storage options"
    if options.profile:
        return f"those of the profile {options.profile!r}, of the storage options"
    if split_uri(uri)[0] != "s3":
        return "those of the storage options" if options.token else "those of the environment"
    if os.environ.get("AWS_ACCESS_KEY_ID"):
        return "those of AWS_ACCESS_KEY_ID in the environment"
    profile = os.environ.get("AWS_PROFILE")
    return f"those of the profile {profile!r}, by AWS_PROFILE" if profile else "those of the default profile or role"
