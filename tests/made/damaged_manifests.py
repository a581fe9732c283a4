"""Whole manifests of each kind, to be damaged as in `made.damaged`, and what becomes of one."""

import io
import json
import tarfile
from functools import cache
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from made.manifests import manifest_of, rows_of
from made.solid_images import png_of
from operators.base.errors import UserError
from operators.storage.stores import NO_OPTIONS
from pipelines.manifests.manifest import SourceConfig

_URIS = [f"https://images.example/{n}.jpg" for n in range(12)]
_LABELS = ["cat", 'a "dog"', "über", "", "line\nbreak", None] * 2


@cache
def whole_manifests() -> dict[str, bytes]:
    """File name -> its bytes."""
    table = pa.table({"uri": _URIS, "label": _LABELS, "number": list(range(12))})
    parquet, packed = io.BytesIO(), io.BytesIO()
    pq.write_table(table, parquet, row_group_size=5)
    pq.write_table(table, packed, compression="zstd", use_dictionary=False)
    quoted = (
        f'{uri},"{(label or "").replace(chr(34), chr(34) * 2)}"' for uri, label in zip(_URIS, _LABELS, strict=True)
    )
    lines = (json.dumps({"uri": uri, "label": label}) for uri, label in zip(_URIS, _LABELS, strict=True))
    return {
        "rows.parquet": parquet.getvalue(),
        "packed.parquet": packed.getvalue(),
        "rows.csv": ("uri,label\n" + "\n".join(quoted) + "\n").encode(),
        "rows.jsonl": ("\n".join(lines) + "\n").encode(),
        "rows.txt": "\n".join(_URIS).encode(),
        "rows.tar": _tar(),
    }


def _tar() -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for number in range(4):
            for name, body in ((f"{number:04d}.png", png_of(number)), (f"{number:04d}.json", b'{"caption": "x"}')):
                header = tarfile.TarInfo(name)
                header.size = len(body)
                tar.addfile(header, io.BytesIO(body))
    return out.getvalue()


def read(folder: Path, name: str, data: bytes) -> list[dict[str, object]] | str:
    """The rows of a manifest with these bytes, as a job opens and its workers read it; or the words of the error that
    a user is told. Raises all other errors."""
    folder.mkdir(parents=True)
    (folder / name).write_bytes(data)
    try:
        return rows_of(manifest_of(SourceConfig(uri=str(folder / name)), NO_OPTIONS, str(folder / "work")))
    except UserError as error:
        return str(error)
