"""The base of every error that a user can mend, and the fixed list of reasons why a manifest row gives no vector."""

from dataclasses import dataclass
from enum import StrEnum


class UserError(ValueError):
    """An error that a user can mend: says what was wrong, where, and what to do. The command line prints it without a
    traceback and exits with 2."""


MAX_MESSAGE_BYTES = 512


class ErrorClass(StrEnum):
    """Every class a failure can have; `docs/failures.md` says what each means and what to do about it."""

    BAD_URI = "bad_uri"
    """The manifest's URI is null, empty, or not a URI that any source can read."""
    BLOCKED_SOURCE = "blocked_source"
    """The scheme, address or path is one this run may not read."""
    NOT_FOUND = "not_found"
    FORBIDDEN = "forbidden"
    THROTTLED = "throttled"
    """The server still asked to slow down (429, 503 SlowDown) when the retries were used up."""
    TIMEOUT = "timeout"
    UNAVAILABLE = "unavailable"
    """Other network trouble or 5xx that outlasted the retries."""
    BAD_RESPONSE = "bad_response"
    """An answer that no retry mends: an unexpected 4xx, too many redirects, a broken encoding."""
    SOURCE_CHANGED = "source_changed"
    """The object was replaced while it was being read."""
    TOO_LARGE = "too_large"
    """More bytes than `max_bytes`."""
    TOO_MANY_PIXELS = "too_many_pixels"
    """More pixels in the header than `max_pixels`."""
    UNSUPPORTED_FORMAT = "unsupported_format"
    """The file is not one of the image formats on the allow-list."""
    CORRUPT = "corrupt"
    TRUNCATED = "truncated"
    DECODE_TIMEOUT = "decode_timeout"
    DECODE_MEMORY = "decode_memory"
    """Decoding the image needs more memory than `memory_limit_bytes`, or than this machine had."""
    DECODER_CRASH = "decoder_crash"
    """The image killed the process that decoded it: a native crash."""
    BAD_REGIONS = "bad_regions"
    """Boxes in the manifest are malformed, or lie outside the image."""
    TOO_MANY_REGIONS = "too_many_regions"
    """More regions than `max_regions`."""
    NO_REGIONS = "no_regions"
    """No region in the image, and `without_regions` is `fail`."""
    MODEL_MEMORY = "model_memory"
    """The model had no memory for this image, alone in its batch."""
    BAD_VECTOR = "bad_vector"
    """The model gave NaN, infinity or a vector of zeros."""


SKIPPED_EXISTING = "skipped_existing"
"""Not a failure: marks a row that `--skip-existing` leaves out. The sink counts such rows and writes them nowhere."""


TAKEN_DOWN = "taken_down"
"""Not a failure: marks a row whose id `pixlake delete` has recorded. The sink counts it and writes it nowhere."""


NOT_ATTEMPTED = "not_attempted"
"""Not a failure: marks a row that is left undone because the run's spend cap is reached, an API refuses the caller, it
takes longer than others, or its host is away. The sink writes such rows nowhere, so that the next epoch or run takes
them up."""


SAME_BYTES = "same_bytes"
"""Not a failure: marks a row whose image has the bytes that the table has vectors of already. The sink gives what else
is new of it in its receipt, and writes the row nowhere."""


NEEDS_EXTRA = "needs an extra package on the workers: pip install 'pixlake[{}]'"
"""How the error of an image ends that is of a format that an optional package reads."""


LASTING = frozenset(
    {
        ErrorClass.TOO_LARGE,
        ErrorClass.TOO_MANY_PIXELS,
        ErrorClass.UNSUPPORTED_FORMAT,
        ErrorClass.CORRUPT,
        ErrorClass.TRUNCATED,
        ErrorClass.DECODER_CRASH,
        ErrorClass.BAD_REGIONS,
        ErrorClass.TOO_MANY_REGIONS,
        ErrorClass.NO_REGIONS,
        ErrorClass.BAD_VECTOR,
    }
)
"""Classes of failures that lie in the image as it is: trying again helps once it, or a setting, has changed. The others
lie in how it was reached, or in what this machine had time for."""


def printable(text: str) -> str:
    """One line that a terminal can only show: what moves the cursor, colours or breaks the line becomes blank."""
    return "".join(c if c.isprintable() else " " for c in text)


def printable_lines(text: str) -> str:
    """As `printable`; what follows a line break and two spaces, as in our own lists, stays a line of its own."""
    return "\n  ".join(printable(line) for line in text.split("\n  "))


def row_line(text: str) -> str:
    """As `printable`, and of at most 512 UTF-8 bytes: a line about a row, whose URI and id may be an attacker's. What
    is cut off ends in `…`."""
    line = printable(text)
    data = line.encode("utf-8", "replace")
    if len(data) <= MAX_MESSAGE_BYTES:
        return line
    return data[: MAX_MESSAGE_BYTES - len("…".encode())].decode("utf-8", "ignore") + "…"


def clean_message(message: str) -> str:
    """One printable line of at most 512 UTF-8 bytes: URIs, headers and decoder texts may be an attacker's."""
    line = " ".join(printable(message).split())
    return line.encode("utf-8", "replace")[:MAX_MESSAGE_BYTES].decode("utf-8", "ignore")


@dataclass(frozen=True, kw_only=True)
class Failure:
    """Why one row failed. `message` is cleaned on construction; it never holds a secret."""

    error_class: ErrorClass
    message: str
    http_status: int | None = None
    attempts: int = 1

    def __post_init__(self) -> None:
        object.__setattr__(self, "message", clean_message(self.message))


class PlanError(UserError):
    """The plan cannot run as declared; the message says what does not fit, where, and what to do."""


class BadImage(ValueError):
    """These bytes give no pixels: the failure class and a message for the failures table."""

    def __init__(self, error_class: ErrorClass, message: str) -> None:
        super().__init__(message)
        self.error_class = error_class
