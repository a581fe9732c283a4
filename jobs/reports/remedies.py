"""What to do about failures of each class, in a sentence; `docs/failures.md` says the same at length."""

from operators.base.errors import ErrorClass

REMEDIES: dict[ErrorClass, str] = {
    ErrorClass.BAD_URI: "mend the manifest, whose lines the errors name, or give objects keys that can be named",
    ErrorClass.BLOCKED_SOURCE: (
        "allow it if you trust the source: folders with fetch.allowed_roots, schemes with fetch.schemes, networks with "
        "fetch.allowed_cidrs, each by --set"
    ),
    ErrorClass.NOT_FOUND: (
        "put the images where the manifest says (relative paths start at its own folder); where you mend the manifest "
        "instead, --skip-existing takes the rows that are not there yet"
    ),
    ErrorClass.FORBIDDEN: "check the credentials: the storage options, or the environment",
    ErrorClass.THROTTLED: "try later, or ask for less at a time: fetch.max_concurrency, api.requests_per_minute",
    ErrorClass.TIMEOUT: "try later, or allow more time: fetch.object_s, api.request_s",
    ErrorClass.UNAVAILABLE: "try later; look whether this machine reaches the server at all",
    ErrorClass.BAD_RESPONSE: "open one of the URLs by hand; of stage embed, the error says what the API refused",
    ErrorClass.SOURCE_CHANGED: "try again when nothing writes to the source any more",
    ErrorClass.TOO_LARGE: "allow more bytes if you trust the source: fetch.max_bytes; for an API, smaller images",
    ErrorClass.TOO_MANY_PIXELS: "allow more pixels if the memory is there: decode.max_pixels",
    ErrorClass.UNSUPPORTED_FORMAT: (
        "install the extra package where the errors name one; convert the others to a format that is read, such as "
        "PNG, under the same names"
    ),
    ErrorClass.CORRUPT: "the files are damaged: fetch or write them anew",
    ErrorClass.TRUNCATED: "the files end early: fetch or write them anew",
    ErrorClass.DECODE_TIMEOUT: "allow more time: decode.decode_timeout_s",
    ErrorClass.DECODE_MEMORY: "allow more memory: decode.memory_limit_bytes; or run fewer decoders on a machine",
    ErrorClass.DECODER_CRASH: "convert the images with another program, and report them to the library",
    ErrorClass.BAD_REGIONS: "mend the manifest's boxes",
    ErrorClass.TOO_MANY_REGIONS: "allow more with regions.max_regions, or take larger tiles",
    ErrorClass.NO_REGIONS: "embed whole images where no region is found: regions.without_regions=whole",
    ErrorClass.MODEL_MEMORY: "look what else takes this machine's memory, or its GPU's; a smaller model takes less",
    ErrorClass.BAD_VECTOR: "try model.precision=float32",
}


_OF_THE_MANIFEST = frozenset({ErrorClass.BAD_URI, ErrorClass.BAD_REGIONS})
_OF_THE_SPACE = frozenset({ErrorClass.TOO_MANY_REGIONS, ErrorClass.NO_REGIONS, ErrorClass.BAD_VECTOR})
"""The remedy is a setting that vectors depend on."""
SETTINGS_OF: dict[ErrorClass, tuple[str, ...]] = {
    ErrorClass.BLOCKED_SOURCE: ("fetch.schemes", "fetch.allowed_roots", "fetch.allowed_cidrs"),
    ErrorClass.TOO_LARGE: ("fetch.max_bytes",),
    ErrorClass.TOO_MANY_PIXELS: ("decode.max_pixels",),
}
"""Class -> the settings of an embed job that decide it: a refresh takes these failures again once the object has
changed, or one of the settings."""


def remedy(error_class: str, refreshed: bool = False) -> str:
    """The sentence, and how the failures are taken again: by the way that is open for what the sentence changes, also
    in a table that refreshes keep to its source."""
    known = ErrorClass(error_class)
    if known in _OF_THE_SPACE:
        again = "`pixlake embed` as before into another table: with that, vectors mean something else"
    elif refreshed and known in SETTINGS_OF:
        again = "`pixlake refresh` with that setting"
    elif refreshed:
        again = "`pixlake refresh`"
    elif known in _OF_THE_MANIFEST:
        again = (
            "`pixlake embed` as before with --skip-existing: a manifest that was mended is another one, of which the "
            "rows there are skipped"
        )
    else:
        again = f"`pixlake embed` as before with --retry-failed {known}"
    return f"{REMEDIES[known]}; then {again}"
