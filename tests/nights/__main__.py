"""The long form: `make nights PHOTOGRAPHS=2000 KILLS=60 SEED=1`. Prints a line a night, and the ledger of kills.

First seven nights over photographs of ImageNet's usual size, by a model with real weights on Ray. Then worlds of fewer
photographs, by the null model, in which nights and swaps are killed on the way, until so many kills took effect.
"""

import argparse
import os
import sys
import tempfile
import time
import traceback
from pathlib import Path
from typing import Any

os.environ.setdefault("LANCE_LOG", "error")

from end_to_end.command import pixlake
from made.cut_photographs import USUAL
from nights.kills import KilledRuns
from nights.seven import DATES, LOCAL_NULL, a_world, seven_nights
from nights.swaps import moved, there_and_back
from servers.s3 import S3Server, s3_server

REAL: dict[str, Any] = {
    "model": {"name": "efficientnet-lite0"},
    "cluster": {"executor": "ray", "commit_interval_s": 5},
}
LATER = tuple(f"2026-11-{day}" for day in (27, 28))
KILLED = 120
"""Photographs of a world in which commands are killed."""


def whole(server: S3Server, folder: Path, photographs: int) -> None:
    began = time.monotonic()
    with a_world(server, folder, pixlake, REAL, exact=False, size=USUAL) as world:
        seven_nights(world, photographs, _say)
    _say(f"{len(DATES)} nights over {photographs:,} photographs, {time.monotonic() - began:,.0f} s")


def killed(server: S3Server, folder: Path, wanted: int, seed: int) -> int:
    """The kills that took effect."""
    done = 0
    while done < wanted:
        # Workers are processes of their own on Ray alone, and decoders where they are isolated.
        executor = "ray" if seed % 3 == 0 else "local"
        on_ray = executor == "ray"
        runs = KilledRuns(
            seed=seed, kills=2 if on_ray else 3, verbs=("nightly", "swap"), workers=0.7 if on_ray else 0.25
        )
        cluster = {"executor": executor, "block_rows": 20, "num_cpus": 2, "object_store_bytes": 150_000_000}
        settings = {**LOCAL_NULL, "cluster": cluster, "decode": {"isolate": True}}
        with a_world(server, folder, runs, settings, exact=True, killed=True) as world:
            runs.look = world.look
            if on_ray:
                # Each of some 25 starts of Ray takes 20 s, and all seven nights and both swaps have a hundred.
                seven_nights(world, KILLED, nights=2)
                moved(world)
            else:
                seven_nights(world, KILLED)
                there_and_back(world, LATER)
        done += runs.ledger.total
        _say(f"world {seed}, {executor}: {runs.ledger.total} kills took effect, {runs.ledger.missed} came too late")
        _say("\n".join(runs.ledger.lines()))
        seed += 1
    return done


def _say(text: str) -> None:
    print(text, flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--photographs", type=int, default=2000, help="0 leaves the whole nights out")
    parser.add_argument("--kills", type=int, default=60)
    parser.add_argument("--seed", type=int, default=1)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="pixlake-nights-") as folder:
        data, files = Path(folder) / "s3", Path(folder) / "files"
        data.mkdir()
        files.mkdir()
        with s3_server(data) as server:
            try:
                if asked.photographs:
                    whole(server, files, asked.photographs)
                done = killed(server, files, asked.kills, asked.seed)
            except Exception:
                traceback.print_exc()
                _say("FAULT")
                return 1
    _say(f"{done} kills took effect; every morning the tables were what the bucket was")
    return 0


if __name__ == "__main__":
    sys.exit(main())
