"""Which npy file belongs to which Parquet file, by the numbers in their names."""

import re
from collections.abc import Sequence

from operators.storage.redact import redact_uri
from pipelines.manifests.files import SourceFile
from pipelines.manifests.manifest import SourceError

_DIGITS = re.compile(r"\d+")


def pair_files(npys: Sequence[SourceFile], metadata: Sequence[SourceFile]) -> list[SourceFile]:
    """The Parquet file of each npy file, in the order of the npy files.

    A file's number is the last one in its name, `10` of `img_emb_10.npy` and of `metadata_0010.parquet`; files of the
    same name but for the ending belong together whatever it is. Raises `SourceError` where a number is missing, or is
    there twice: the order of names alone pairs `_10` with `_0002`.
    """
    by_name = {_stem(file): file for file in metadata}
    if all(_stem(file) in by_name for file in npys) and len(by_name) == len(npys):
        return [by_name[_stem(file)] for file in npys]
    if len(npys) == len(metadata) == 1 and None in (_number(npys[0]), _number(metadata[0])):
        return list(metadata)
    vectors, rows = _numbered(npys), _numbered(metadata)
    alone = sorted(vectors.keys() ^ rows.keys())
    if alone:
        there = vectors.get(alone[0]) or rows[alone[0]]
        kind = "Parquet" if alone[0] in vectors else "npy"
        raise SourceError(
            f"{redact_uri(there.uri)}: no {kind} file has its number, {alone[0]}, and {len(alone)} numbers in all are "
            f"those of one file alone ({len(npys)} npy and {len(metadata)} Parquet files); each npy file needs the "
            "Parquet file with the same rows: add what is missing, or name the files of a pair with one number"
        )
    return [rows[number] for number in vectors]


def _numbered(files: Sequence[SourceFile]) -> dict[int, SourceFile]:
    found: dict[int, SourceFile] = {}
    for file in files:
        number = _number(file)
        if number is None:
            raise SourceError(
                f"{redact_uri(file.uri)}: its name has no number, by which npy and Parquet files are paired; call them "
                "img_emb_0.npy and metadata_0.parquet, and so on"
            )
        if number in found:
            raise SourceError(
                f"{redact_uri(file.uri)} and {redact_uri(found[number].uri)} both have the number {number}, by which "
                "npy and Parquet files are paired; name each pair with a number of its own"
            )
        found[number] = file
    return found


def _number(file: SourceFile) -> int | None:
    digits = _DIGITS.findall(_stem(file))
    return int(digits[-1]) if digits else None


def _stem(file: SourceFile) -> str:
    """The name without its ending."""
    return file.uri.rpartition("/")[2].rpartition(".")[0]
