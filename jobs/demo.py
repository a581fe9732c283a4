"""`make demo`: the main job on scikit-image's photographs: broken files, an interruption, a search, one by a part."""

import csv
import os
import shutil
import signal
import subprocess
import sys
import time
import zlib
from pathlib import Path

import lance
import skimage.data
from PIL import Image
from rich.console import Console
from rich.table import Table

from jobs import embed, failures, search
from pipelines.search.regions import box_text

FOLDER = Path("demo")
TABLE = str(FOLDER / "lake" / "photos")
WHOLE = "title NOT LIKE '%, a crop'"
QUERIES = ("chelsea.png", "coffee.png", "rocket.jpg")

PARTS = str(FOLDER / "lake" / "parts")
PLACES = {
    "astronaut.png": ("the face", "160,40,300,190"),
    "chelsea.png": ("the cat's eye", "110,60,240,170"),
    "coffee.png": ("the saucer", "90,230,260,370"),
}
"""Parts to look for in a table of regions: x0, y0, x1, y1 in pixels."""

# Small blocks and fragments, so that there is something to interrupt in a run of a few seconds.
SMALL = ("cluster.block_rows=8", "cluster.rows_per_fragment=8", "cluster.commit_interval_s=0.2")


def main() -> None:
    console = Console(highlight=False)
    shutil.rmtree(FOLDER, ignore_errors=True)
    manifest = write_images(FOLDER / "images")
    rows = sum(1 for _ in manifest.open()) - 1
    console.rule("1. Embed, and interrupt it")
    console.print(
        f"{rows} rows in {manifest}: scikit-image's photographs, crops of them, and five rows that must fail.\n"
    )
    command = embed_command(manifest)
    console.print(f"$ pixlake {' '.join(command[3:])}", soft_wrap=True, markup=False)
    interrupt(command)
    console.rule("2. The same command again goes on from there")
    subprocess.run(command, check=True)
    console.rule("3. Once more: nothing to do")
    subprocess.run(command, check=True)
    console.rule("4. What failed, and why")
    found = failures.run(failures.FailuresConfig(table=TABLE))
    console.print(failures.as_text(found), markup=False, soft_wrap=True)
    console.rule("5. Search: a crop that is not in the table finds its photograph")
    console.print(results(FOLDER / "queries"))
    console.rule("6. Regions: a part of a photograph finds its place")
    report = embed_regions(FOLDER / "places")
    console.print(f"{report.vectors} photographs, a vector for each of 4 x 4 overlapping cells.\n")
    console.print(places(FOLDER / "images"))
    console.print(f"\nTry: .venv/bin/pixlake search {TABLE} --image demo/queries/{QUERIES[0]}", soft_wrap=True)
    console.print(
        f"     .venv/bin/pixlake search {PARTS} --image demo/images/coffee.png --box 0.5,0,1,0.5 --group",
        soft_wrap=True,
    )
    console.print(f"     .venv/bin/pixlake describe {TABLE}")


def embed_command(manifest: Path) -> list[str]:
    sets = [f"--set={assignment}" for assignment in ("source.keep=[title]", *SMALL)]
    return [sys.executable, "-m", "jobs", "embed", str(manifest), TABLE, *sets]


def write_images(folder: Path) -> Path:
    """Write photographs, twelve crops of each, and broken rows, listed in a CSV manifest; the crops used as queries lie
    apart."""
    folder.mkdir(parents=True)
    queries = folder.parent / "queries"
    queries.mkdir()
    rows = []
    for source in photographs():
        image = Image.open(source).convert("RGB")
        image.save(folder / source.name)
        rows.append((source.name, source.stem))
        for i in range(12):
            name = f"{source.stem}-crop-{i:02d}.jpg"
            crop(image, i % 4, i // 4).save(folder / name, quality=90)
            rows.append((name, f"{source.stem}, a crop"))
        if source.name in QUERIES:
            crop(image, 1.5, 1).save(queries / source.name)
    rows += broken(folder)
    manifest = folder.parent / "images.csv"
    with manifest.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("uri", "title"))
        writer.writerows((f"images/{name}" if name else "", title) for name, title in rows)
    return manifest


def photographs() -> list[Path]:
    """The images of ordinary size that the scikit-image package itself contains."""
    folder = Path(skimage.data.__file__).parent
    found = sorted(p for p in folder.iterdir() if p.suffix in (".png", ".jpg"))
    return [p for p in found if min(Image.open(p).size) >= 200]


def crop(image: Image.Image, column: float, row: float) -> Image.Image:
    """Two thirds of each side; `column` 0 to 3 and `row` 0 to 2 from the top left corner to the bottom right."""
    width, height = image.width * 2 // 3, image.height * 2 // 3
    left, top = int(column / 3 * (image.width - width)), int(row / 2 * (image.height - height))
    return image.crop((left, top, left + width, top + height))


def broken(folder: Path) -> list[tuple[str, str]]:
    """Five rows that must become failures, each of another class."""
    whole = (folder / "rocket.jpg").read_bytes()
    (folder / "cut-short.jpg").write_bytes(whole[: len(whole) // 2])
    (folder / "not-an-image.png").write_text("<html>404</html>")
    # A PNG of a few bytes whose header claims 60,000 x 60,000 pixels.
    size = (60_000).to_bytes(4, "big") * 2
    chunks = (b"IHDR" + size + bytes([8, 0, 0, 0, 0]), b"IDAT" + zlib.compress(bytes(60_001)))
    png = b"".join((len(c) - 4).to_bytes(4, "big") + c + zlib.crc32(c).to_bytes(4, "big") for c in chunks)
    (folder / "bomb.png").write_bytes(b"\x89PNG\r\n\x1a\n" + png)
    return [
        ("cut-short.jpg", "cut short"),
        ("not-an-image.png", "not an image"),
        ("bomb.png", "60,000 x 60,000 pixels"),
        ("never-there.jpg", "never there"),
        ("", "no URI"),
    ]


def interrupt(command: list[str]) -> None:
    """Start the command and send it Ctrl-C as soon as its first rows are in the table."""
    process = subprocess.Popen(command, env={**os.environ, "PYTHONUNBUFFERED": "1"})
    while process.poll() is None and not committed_rows():
        time.sleep(0.02)
    if process.poll() is None:
        process.send_signal(signal.SIGINT)
    code = process.wait()
    kept = committed_rows()
    if code == 75:
        print(f"\nInterrupted with Ctrl-C (exit code 75): {kept} rows are in the table and stay there.\n", flush=True)
    else:
        print(f"\nThe run ended by itself (exit code {code}) before Ctrl-C reached it.\n", flush=True)


def committed_rows() -> int:
    try:
        return int(lance.dataset(f"{TABLE}.lance").count_rows())
    except ValueError:
        # Not created yet.
        return 0


def results(folder: Path) -> Table:
    table = Table("query", "score", "found", box=None, pad_edge=False)
    for query in sorted(folder.iterdir()):
        found = search.run(search.SearchConfig(table=TABLE, image=str(query), k=3, where=WHOLE))
        for i, row in enumerate(found.results):
            table.add_row(f"a crop of {query.name}" if not i else "", f"{row['score']:.3f}", row["title"])
    return table


def embed_regions(folder: Path) -> embed.Report:
    """The photographs alone, into a table with a row for each region; in this process, as it is a small job."""
    folder.mkdir()
    for source in photographs():
        # Not the very pixels that the queries have: a region is found by what it shows.
        Image.open(source).convert("RGB").save(folder / f"{source.stem}.jpg", quality=80)
    return embed.run(
        embed.EmbedConfig.model_validate(
            {
                "source": {"uri": str(folder)},
                "table": PARTS,
                "regions": {"kind": "grid", "rows": 4, "columns": 4, "overlap": 0.5},
                "cluster": {"executor": "local"},
            }
        )
    )


def places(folder: Path) -> Table:
    table = Table("searched for", "score", "found", box=None, pad_edge=False)
    for name, (what, box) in PLACES.items():
        query = {"table": PARTS, "image": str(folder / name), "box": box, "group": True, "k": 2}
        for i, row in enumerate(search.run(search.SearchConfig.model_validate(query)).results):
            there = [round(side) for side in row["region"]["box"].values()]
            asked = "" if i else f"{what}: {name} --box {box}"
            table.add_row(asked, f"{row['score']:.3f}", f"{Path(row['uri']).stem}, {box_text(there)}")
    return table


if __name__ == "__main__":
    main()
