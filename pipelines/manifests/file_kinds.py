"""What a file is, by the ending of its name: a manifest of some kind, a tar, an image, or none of them."""

import os

_KINDS = {".parquet": "parquet", ".csv": "csv", ".tsv": "tsv", ".jsonl": "jsonl", ".ndjson": "jsonl", ".txt": "text"}
_IMAGES = (
    ".jpg",
    ".jpeg",
    ".jpe",
    ".jfif",
    ".png",
    ".webp",
    ".gif",
    ".bmp",
    ".tif",
    ".tiff",
    ".avif",
    ".heic",
    ".heif",
    ".jp2",
    ".j2k",
    ".jpx",
    ".jxl",
)
_IMAGE_ENDINGS = frozenset(ending.removeprefix(".") for ending in _IMAGES)

ENDINGS = (
    "a manifest ends in .parquet, or in .csv, .tsv, .jsonl, .ndjson or .txt with or without .gz or .zst; "
    f"a tar of images in .tar, and is not compressed; an image in {', '.join(_IMAGES)}"
)


def manifest_kind(uri: str) -> str | None:
    """`parquet`, `csv`, `tsv`, `jsonl` or `text`; None for anything else."""
    stem, ending = os.path.splitext(_name(uri))
    if ending not in (".gz", ".zst"):
        return _KINDS.get(ending)
    kind = _KINDS.get(os.path.splitext(stem)[1])
    return None if kind == "parquet" else kind


def is_tar_name(uri: str) -> bool:
    return _name(uri).endswith(".tar")


def is_image_name(uri: str) -> bool:
    # Asked of every file of a listing: `splitext` and a search through a tuple took 20 us.
    stem, _, ending = _name(uri).rpartition(".")
    return ending in _IMAGE_ENDINGS and bool(stem.lstrip("."))


def _name(uri: str) -> str:
    if uri.startswith(("http://", "https://")):
        uri = uri.split("#")[0].split("?")[0]
    return uri.rpartition("/")[2].lower()
