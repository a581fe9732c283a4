"""Parquet files that hold numbered images, as Hugging Face's datasets and img2dataset write them."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from end_to_end.audit import Expected
from made.solid_images import png_of

STRUCT = pa.struct([("bytes", pa.binary()), ("path", pa.string())])


def write_images(
    path: Path, numbers: range, *, plain: bool = False, group_rows: int = 10, missing: int = 0, root: str | None = None
) -> list[Expected]:
    """Column `image` (a struct, or `plain` bytes), `label` and `number`. The last `missing` rows have no bytes; `root`
    is the URI of the folder where that is not its path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    there = len(numbers) - missing
    images = [png_of(number) if at < there else None for at, number in enumerate(numbers)]
    structs = [None if image is None else {"bytes": image, "path": "image.png"} for image in images]
    columns = {
        "image": pa.array(images, pa.binary()) if plain else pa.array(structs, STRUCT),
        "label": pa.array([f"label {number}" for number in numbers]),
        "number": pa.array(list(numbers), pa.int64()),
    }
    pq.write_table(pa.table(columns), path, row_group_size=group_rows)
    uri = f"{root or path.parent}/{path.name}"
    return [
        Expected(f"{uri}#{at}", number, failure=None if at < there else "not_found")
        for at, number in enumerate(numbers)
    ]
