"""`python -m benchmarks.duplicate_copies [--images DIR]`: `pixlake duplicates` of made copies, beside others.

Of every third photograph there are six copies: the same bytes, compressed again (JPEG quality 35), halved, cropped by a
twentieth on each side, mirrored, and with a watermark. All are embedded with EfficientNet-Lite0. For each threshold and
linkage, and for fastdup and cleanvision on the same files, it prints the share of the pairs within groups that are of
one photograph, and for each kind of copy the share that is in a group with its original.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterable, Sequence
from itertools import combinations
from pathlib import Path

import lance
from PIL import Image, ImageDraw, ImageOps

from benchmarks.peers.environments import DUPLICATES, environment
from benchmarks.photographs import find, make

KINDS = ("same", "recompressed", "halved", "cropped", "mirrored", "watermarked")
THRESHOLDS = (0.85, 0.9, 0.95)
FASTDUP = (0.9, 0.96)
"""The cosine that its pairs have at least, and the one for its components."""
PIXLAKE = str(Path(sys.executable).with_name("pixlake"))


def write_copies(photographs: Sequence[Path], folder: Path) -> None:
    for number, path in enumerate(photographs):
        names = {kind: folder / f"{number:04d}_{kind}.jpg" for kind in ("original", *KINDS)}
        names["original"].write_bytes(path.read_bytes())
        if number % 3:
            continue
        names["same"].write_bytes(path.read_bytes())
        image = Image.open(path).convert("RGB")
        width, height = image.size
        image.save(names["recompressed"], quality=35)
        image.resize((width // 2, height // 2), Image.Resampling.LANCZOS).save(names["halved"], quality=90)
        ImageOps.crop(image, min(width, height) // 20).save(names["cropped"], quality=90)
        ImageOps.mirror(image).save(names["mirrored"], quality=90)
        draw = ImageDraw.Draw(image, "RGBA")
        draw.rectangle((width // 10, height * 3 // 4, width * 9 // 10, height * 17 // 20), fill=(255, 255, 255, 90))
        draw.text((width * 3 // 20, height * 77 // 100), "SAMPLE", fill=(0, 0, 0, 200), font_size=height // 14)
        image.save(names["watermarked"], quality=90)


def scored(groups: Iterable[Sequence[str]], files: Sequence[str]) -> str:
    """Precision of the pairs within groups of file names, and recall by kind."""
    group_of = {name: number for number, names in enumerate(groups) for name in names}
    members = defaultdict(list)
    for name, number in group_of.items():
        members[number].append(name[:4])
    pairs = [a == b for each in members.values() for a, b in combinations(each, 2)]
    shares = [f"{sum(pairs) / max(1, len(pairs)):9.3f}"]
    for kind in KINDS:
        own = [name for name in files if name.endswith(f"_{kind}.jpg")]
        hits = sum(group_of.get(name, -1) == group_of.get(f"{name[:4]}_original.jpg", -2) for name in own)
        shares.append(f"{hits / len(own):12.3f}")
    return "".join(shares)


def components(pairs: Iterable[tuple[str, str]]) -> list[list[str]]:
    first: dict[str, str] = {}

    def root(name: str) -> str:
        while first.setdefault(name, name) != name:
            name = first[name]
        return name

    for one, other in pairs:
        first[root(one)] = root(other)
    groups = defaultdict(list)
    for name in list(first):
        groups[root(name)].append(name)
    return list(groups.values())


def of_pixlake(table: str, threshold: float, linkage: str) -> list[list[str]]:
    command = [PIXLAKE, "duplicates", table, "--threshold", str(threshold), "--linkage", linkage]
    subprocess.run(command, check=True, capture_output=True)
    rows = lance.dataset(f"{table}__duplicates.lance").to_table(columns=["group", "id"]).to_pylist()
    where = lance.dataset(f"{table}.lance").to_table(columns=["id", "uri"]).to_pylist()
    name_of = {row["id"]: Path(row["uri"]).name for row in where}
    groups = defaultdict(list)
    for row in rows:
        groups[row["group"]].append(name_of[row["id"]])
    return list(groups.values())


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.duplicate_copies", description=__doc__)
    parser.add_argument("--images", type=Path, help="A folder of photographs. Default: cut from scikit-image's.")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="pixlake-bench-") as scratch:
        folder, made = Path(scratch, "copies"), Path(scratch, "made")
        folder.mkdir()
        made.mkdir()
        write_copies(find(given.images) if given.images else make(made), folder)
        files, table = sorted(path.name for path in folder.iterdir()), f"{scratch}/lake/copies"
        embed = [
            PIXLAKE,
            "embed",
            str(folder),
            table,
            "--model",
            "efficientnet-lite0",
            "--set",
            "cluster.executor=local",
        ]
        subprocess.run(embed, check=True, capture_output=True)
        print(f"{'':32}{'precision':>9}{''.join(f'{kind:>12}' for kind in KINDS)}")
        for threshold in THRESHOLDS:
            for linkage in ("leader", "chain"):
                found = of_pixlake(table, threshold, linkage)
                print(f"{f'pixlake, {threshold}, {linkage}':32}{scored(found, files)}", flush=True)
        script = Path(__file__).parent / "peers" / "duplicate_finders.py"
        command = [str(environment(DUPLICATES)), str(script), str(folder), f"{scratch}/pairs.json"]
        subprocess.run(command, check=True, capture_output=True, cwd=scratch)
        pairs = json.loads(Path(scratch, "pairs.json").read_text())
        for tool, least in (*(("fastdup", each) for each in FASTDUP), ("cleanvision", 0.0)):
            chosen = components((a, b) for a, b, cosine in pairs[tool] if cosine >= least)
            print(f"{f'{tool}, {least}' if least else tool:32}{scored(chosen, files)}", flush=True)


if __name__ == "__main__":
    main()
