"""What the benchmark embeds: a folder of the user's, or photographs cut from those that scikit-image ships."""

from itertools import cycle, islice
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

ENDINGS = (".jpg", ".jpeg", ".png", ".webp")
MADE = 240
"""Photographs cut from scikit-image's."""
SIZE = (500, 375)
"""ImageNet's usual size."""


def find(folder: Path) -> list[Path]:
    """The images below `folder`, sorted."""
    return sorted(path for path in folder.rglob("*") if path.suffix.lower() in ENDINGS)


def make(folder: Path, count: int = MADE) -> list[Path]:
    """JPEGs of ImageNet's usual size and quality, cut out of scikit-image's colour photographs at even steps."""
    import skimage.data

    shipped = [Image.open(path).convert("RGB") for path in sorted(Path(skimage.data.__file__).parent.glob("*.*g"))]
    large = [image for image in shipped if image.width > SIZE[0] and image.height > SIZE[1]]
    made = []
    for index, image in enumerate(islice(cycle(large), count)):
        turn = index // len(large) / (count // len(large) + 1)
        left = int(turn * (image.width - SIZE[0]))
        top = int((turn * 7 % 1) * (image.height - SIZE[1]))
        path = folder / f"{index:04d}.jpg"
        image.crop((left, top, left + SIZE[0], top + SIZE[1])).save(path, quality=90)
        made.append(path)
    return made


def write_manifest(photographs: list[Path], rows: int, path: Path) -> None:
    """`rows` rows, the photographs again and again, each row with an id of its own."""
    uris = [str(photograph.resolve()) for photograph in islice(cycle(photographs), rows)]
    pq.write_table(pa.table({"uri": uris, "id": [str(row) for row in range(rows)]}), path)
