"""Damaged images and manifests for as long as asked: `make fuzz SECONDS=600 SEED=1`. Prints what came of them.

A case that ends in anything but rows, pixels or a known failure is printed as what was done to which file: a line to
keep in `tests/operators/decoding/test_damaged.py` or `tests/pipelines/manifests/test_damaged.py`.
"""

import argparse
import contextlib
import random
import shutil
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from made.damaged import Case, damaged, random_case, whole_files
from made.damaged_manifests import read, whole_manifests
from operators.decoding.process import DecodeProcess
from operators.decoding.shared_rows import FORMATS
from tests.operators.decoding.test_damaged import CLASSES, bytes_of, outcomes
from tests.operators.decoding.test_process import decoded, process

IMAGES_EACH, MANIFESTS_EACH = 64, 8
"""Of a round, which takes about a third of a second."""


def _images(decoder: DecodeProcess, chance: random.Random, counts: Counter[str]) -> list[str]:
    cases = [random_case(chance, sorted(whole_files())) for _ in range(IMAGES_EACH)]
    found = outcomes(decoded(decoder, [bytes_of(case) for case in cases])[0])
    counts.update(f"image {'read' if each in FORMATS else each}" for each in found)
    return [f"{each}: {case}" for case, each in zip(cases, found, strict=True) if each not in {*CLASSES, *FORMATS}]


def _manifests(chance: random.Random, counts: Counter[str], folder: Path) -> list[str]:
    faults = []
    for _ in range(MANIFESTS_EACH):
        case: Case = random_case(chance, sorted(whole_manifests()))
        shutil.rmtree(folder / "one", ignore_errors=True)
        try:
            found = read(folder / "one", case.file, damaged(whole_manifests()[case.file], case.damages))
            counts[f"manifest {'told' if isinstance(found, str) else 'read'}"] += 1
        except Exception as error:
            counts["manifest fault"] += 1
            faults.append(f"{type(error).__name__}: {error}: {case}")
    return faults


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("--seed", type=int, default=1)
    asked = parser.parse_args()
    chance, counts, faults = random.Random(asked.seed), Counter[str](), list[str]()
    end = time.monotonic() + asked.seconds
    with tempfile.TemporaryDirectory() as folder, contextlib.closing(process()) as decoder:
        while time.monotonic() < end:
            new = _images(decoder, chance, counts) + _manifests(chance, counts, Path(folder))
            for fault in new:
                print(fault, flush=True)
            faults += new
    print(f"seed {asked.seed}: " + ", ".join(f"{count:,} {what}" for what, count in sorted(counts.items())))
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
