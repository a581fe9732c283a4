"""Removes secrets from text before it reaches a table, a log or an error."""

import re
from urllib.parse import unquote

from operators.base.errors import clean_message

MASK = "***"

_SECRET_NAME = re.compile(
    r"(x-(amz|goog|oss|cos)-.*|.*token|.*signature|sig|sign|.*secret.*|passw(or)?d|pwd|pass|auth|authorization|jwt"
    r"|api[-_]?key|access[-_]?key([-_]?id)?|awsaccesskeyid|ossaccesskeyid|googleaccessid|key-pair-id|policy"
    r"|(ocp-apim-)?subscription-key|hdn(ts|ea|tl)|credentials?|session|sessionid|code)",
    re.IGNORECASE,
)
_SIGNS_UNTIL = re.compile(r"md5|hash|verify|oh|hmac", re.IGNORECASE)
_UNTIL = re.compile(r"expires?|expiry|exp|e|oe|ttl", re.IGNORECASE)
"""Names of signatures with which servers and CDNs (nginx, Facebook's) let an address in until a moment that stands
beside them. Alone such a name may be all that tells one image from another."""
_SIGNED_BESIDE = re.compile(r"expires|sv|st|se|s[rpis]|sip|spr|srt|sko?id|sktid|sk[tesv]|rsc[cdelt]", re.IGNORECASE)
"""Parameters that are not secret but part of a signature (CloudFront, S3 v2, Azure SAS): kept, they would only make
equal URIs differ."""

_USERINFO = re.compile(r"(?<=://)[^/?#\s]*@")
_QUERY = re.compile(r"(?<=[?&;#])([^=&;#?\s\"'<>]{1,100})=([^&;#\s\"'<>)\]}]*)")
# Repeats are bounded: error texts are attacker text, and an open `*` here took minutes on a megabyte of "x-amz-".
_ASSIGNED = re.compile(
    r"(?i)\b((?:aws[-_ ]?)?(?:secret|access|api)[-_ ]?(?:access[-_ ]?)?key(?:[-_ ]?id)?|[a-z_-]{0,30}token"
    r"|[a-z_-]{0,30}secret|password|passwd|x-amz-[a-z-]{1,40})([\"']?\s*[:=]\s*[\"']?)([^\s\"',;&]{6,})"
)
_BEARER = re.compile(r"(?i)\b(bearer|basic|digest|aws4-hmac-sha256)\s+[^\s,;\"']{6,}")
_LOOKS_SECRET = re.compile(
    r"\b(?:(?:AKIA|ASIA|AROA|AIDA)[A-Z0-9]{16}"  # AWS key ids
    r"|AIza[\w-]{35}|ya29\.[\w.-]{8,}"  # Google API keys and access tokens
    r"|hf_[A-Za-z0-9]{30,}|gh[pousr]_[A-Za-z0-9]{30,}"  # Hugging Face and GitHub tokens
    r"|(?<![\w-])eyJ[\w-]{8,}\.[\w-]{8,}\.[\w-]*)"  # JSON web tokens
    r"|(?<![^\s\"'=:,(])(?=[A-Za-z0-9/+]{0,39}[A-Z])(?=[A-Za-z0-9/+]{0,39}[a-z])(?=[A-Za-z0-9/+]{0,39}[0-9])"
    r"[A-Za-z0-9+][A-Za-z0-9/+]{39}(?![^\s\"',;)])"  # AWS secret keys: 40 of base64, standing alone
)


def redact(text: str) -> str:
    """The text with user:password@, signed query values, bearer tokens and secret-looking values masked."""
    text = _USERINFO.sub(MASK + "@", text)
    named = {unquote(name) for name, _ in _QUERY.findall(text)}
    until = any(map(_UNTIL.fullmatch, named))
    text = _QUERY.sub(lambda m: f"{m[1]}={MASK}" if _is_secret(m[1], until) else m[0], text)
    text = _BEARER.sub(rf"\1 {MASK}", text)
    text = _ASSIGNED.sub(rf"\1\2{MASK}", text)
    return _LOOKS_SECRET.sub(MASK, text)


def redact_uri(uri: str) -> str:
    """The URI as it may be stored: without user:password@ and signing parameters, otherwise kept letter for letter.

    Two signatures of one object give the same result, and a URI without secrets comes back as it is.
    """
    separator = "://" in uri
    if separator:
        uri = _without_userinfo(uri)
    if not separator or ("?" not in uri and "#" not in uri):
        return uri
    uri, hash_mark, fragment = uri.partition("#")
    path, question_mark, query = uri.partition("?")
    return _join(path, question_mark, _without_secrets(query)) + _join("", hash_mark, _without_secrets(fragment))


_URI = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://\S+")


def redact_value(text: str) -> str:
    """A manifest's value as a row may keep it, as its id or in a column: of a URI without user:password@, and of a web
    address without its signature. In buckets and on disk a `?` is part of a name, and any other text stays as it is."""
    found = _URI.fullmatch(text)
    if found is None:
        return text
    return redact_uri(text) if found[1].lower() in ("http", "https") else _without_userinfo(text)


def _without_userinfo(uri: str) -> str:
    head, separator, rest = uri.partition("://")
    end = min((i for i in map(rest.find, "/?#") if i >= 0), default=len(rest))
    return f"{head}{separator}{rest[:end].rpartition('@')[2]}{rest[end:]}"


def _join(before: str, mark: str, after: str) -> str:
    return before + mark + after if after else before


def _without_secrets(query: str) -> str:
    parameters = re.split(r"([&;])", query)
    names = [parameter.partition("=")[0] for parameter in parameters[::2]]
    until = any(_UNTIL.fullmatch(unquote(name)) for name in names)
    secret = [
        _is_secret(name, until) and "=" in parameter for name, parameter in zip(names, parameters[::2], strict=True)
    ]
    if not any(secret):
        return query
    kept = ""
    for index, name in enumerate(names):
        if not secret[index] and not _SIGNED_BESIDE.fullmatch(unquote(name)):
            kept += (parameters[2 * index - 1] if kept else "") + parameters[2 * index]
    return kept


def _is_secret(name: str, until: bool) -> bool:
    """Whether a parameter is; `until`: a moment stands beside it."""
    plain = unquote(name)
    return bool(_SECRET_NAME.fullmatch(plain) or (until and _SIGNS_UNTIL.fullmatch(plain)))


def reason_of(error: object) -> str:
    """The message of an error in one printable line of at most 512 bytes, without secrets."""
    # The object store's errors go on with the Rust structures that they are made of.
    return clean_message(redact(str(error).partition("Debug source:")[0]))
