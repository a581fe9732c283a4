"""A job is planned, and then run: how far the plan was off.

    python -m benchmarks.planned_and_run --images DIR [--rows 3000] [--model efficientnet-lite0] [--rounds 3]

The manifest names the images of a folder again and again, and every row is embedded for itself. CPU seconds and the
clock are those of the whole command, its start and all processes below it included. The marks: both within a tenth on
runs of 2.5 to 5 minutes. On a machine with other work the clock says nothing, and CPU seconds say something where the
other work stays the same from the plan to the run.
"""

import argparse
import itertools
import json
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.process_tree import Watched, run
from benchmarks.turns import Timed, timed


def main() -> None:
    """Prints a line a round, and one JSON object at the end."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=Path, required=True)
    parser.add_argument("--rows", type=int, default=3000)
    parser.add_argument("--sample", type=int)
    parser.add_argument("--executor", default="local")
    parser.add_argument("--set", action="append", default=[])
    parser.add_argument("--model", default="efficientnet-lite0")
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    pixlake = str(Path(sys.executable).with_name("pixlake"))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        manifest = _manifest(given.images, given.rows, folder / "m.csv")
        settings = ["--model", given.model, "--set", "reuse=false", "--set", f"cluster.executor={given.executor}"]
        settings += ["--json", "--set", f"fetch.allowed_roots=[{given.images.resolve()}]"]
        settings += [word for each in given.set for word in ("--set", each)]
        sample = [] if given.sample is None else ["--sample", str(given.sample)]
        rounds = []
        for number in range(given.rounds):
            planned = timed([pixlake, "plan", manifest, *sample, *settings], folder=folder)
            ran = run([pixlake, "embed", manifest, f"{folder}/lake/all{number}", *settings])
            rounds.append(_compared(planned, ran, folder / "lake" / f"all{number}.lance" / "data"))
            print(f"planned over run: {rounds[-1]}", file=sys.stderr)
    ratios = {key: statistics.median(each["ratios"][key] for each in rounds) for key in rounds[0]["ratios"]}
    print(json.dumps({"rows": given.rows, "model": given.model, "rounds": rounds, "medians": ratios}, indent=2))


def _compared(planned: Timed, ran: Watched, data: Path) -> dict[str, Any]:
    """The ratios of the plan's figures to the run's, whether its ranges held these, and what the plan itself took."""
    plan, report = json.loads(planned.output), json.loads(ran.output)
    truth = {
        "core_hours": ran.core_seconds / 3600,
        "hours": ran.seconds / 3600,
        "bytes_read": report["image_bytes"],
        "bytes_written": sum(file.stat().st_size for file in data.glob("*")),
    }
    return {
        "ratios": {key: plan[key]["value"] / value for key, value in truth.items()},
        "held": {key: plan[key]["low"] <= value <= plan[key]["high"] for key, value in truth.items()},
        "core_seconds": [3600 * plan["core_hours"]["value"], ran.core_seconds],
        "seconds": [3600 * plan["hours"]["value"], ran.seconds],
        "start": plan["start"],
        "tried": plan["tried"],
        "plan_seconds": planned.seconds,
        "plan_core_seconds": planned.cpu_seconds,
        "other_cores": ran.other_cores,
    }


def _manifest(images: Path, rows: int, file: Path) -> str:
    found = sorted(path.resolve() for path in images.rglob("*.jpg"))
    lines = [f"{number},{path}" for number, path in zip(range(rows), itertools.cycle(found), strict=False)]
    file.write_text("\n".join(["id,uri", *lines]) + "\n")
    return str(file)


if __name__ == "__main__":
    main()
