"""A job is planned, and then run: how far the plan was off.

    python -m benchmarks.planned_and_run --images DIR [--rows 3000] [--model efficientnet-lite0] [--rounds 3]

The manifest names the images of a folder again and again, and every row is embedded for itself. CPU seconds are those
of the whole process tree, less those of a run of one row: the start. On a machine with other work the clock says
nothing, and CPU seconds a little.
"""

import argparse
import itertools
import json
import statistics
import sys
import tempfile
from pathlib import Path

from benchmarks.turns import timed


def main() -> None:
    """Prints a line a round, and one JSON object at the end."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=Path, required=True)
    parser.add_argument("--rows", type=int, default=3000)
    parser.add_argument("--sample", type=int, default=400)
    parser.add_argument("--model", default="efficientnet-lite0")
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    pixlake = str(Path(sys.executable).with_name("pixlake"))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        manifest = _manifest(given.images, given.rows, folder / "m.csv")
        settings = ["--model", given.model, "--set", "reuse=false", "--set", "cluster.executor=local", "--json"]
        settings += ["--set", f"fetch.allowed_roots=[{given.images.resolve()}]"]
        rounds = []
        for number in range(given.rounds):
            planned = timed([pixlake, "plan", manifest, "--sample", str(given.sample), *settings], folder=folder)
            start = timed([pixlake, "embed", manifest, f"lake/one{number}", "--limit", "1", *settings], folder=folder)
            ran = timed([pixlake, "embed", manifest, f"lake/all{number}", *settings], folder=folder)
            plan, report = json.loads(planned.output), json.loads(ran.output)
            data = sum(f.stat().st_size for f in (folder / "lake" / f"all{number}.lance" / "data").glob("*"))
            rounds.append(
                {
                    "cpu": plan["core_hours"]["value"] * 3600 / (ran.cpu_seconds - start.cpu_seconds),
                    "clock": given.rows / plan["images_per_s"]["value"] / report["seconds"],
                    "read": plan["bytes_read"]["value"] / report["image_bytes"],
                    "written": plan["bytes_written"]["value"] / data,
                }
            )
            print(f"planned over run: {rounds[-1]}", file=sys.stderr)
    medians = {key: statistics.median(each[key] for each in rounds) for key in rounds[0]}
    print(json.dumps({"rows": given.rows, "rounds": rounds, "medians": medians}, indent=2))


def _manifest(images: Path, rows: int, file: Path) -> str:
    found = sorted(path.resolve() for path in images.rglob("*.jpg"))
    lines = [f"{number},{path}" for number, path in zip(range(rows), itertools.cycle(found), strict=False)]
    file.write_text("\n".join(["id,uri", *lines]) + "\n")
    return str(file)


if __name__ == "__main__":
    main()
