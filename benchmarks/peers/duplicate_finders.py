"""`python duplicate_finders.py FOLDER OUT.json`: what fastdup and cleanvision take for duplicates, by file name.

As their documentation has it: fastdup's pairs by its own network, cleanvision's sets by hash and perceptual hash.
"""

import json
import sys
import tempfile
from itertools import combinations
from pathlib import Path

import fastdup
from cleanvision import Imagelab


def by_fastdup(folder: str, work: str) -> list[tuple[str, str, float]]:
    found = fastdup.create(work_dir=work, input_dir=folder)
    found.run(overwrite=True)
    pairs = found.similarity()
    names = (map(_name, pairs[column]) for column in ("filename_from", "filename_to"))
    return [(a, b, float(c)) for a, b, c in zip(*names, pairs["distance"], strict=True)]


def by_cleanvision(folder: str) -> list[tuple[str, str, float]]:
    found = Imagelab(data_path=folder)
    found.find_issues({"near_duplicates": {}, "exact_duplicates": {}}, n_jobs=1, verbose=False)
    sets = [each for kind in ("near_duplicates", "exact_duplicates") for each in found.info[kind]["sets"]]
    return [(_name(a), _name(b), 1.0) for each in sets for a, b in combinations(each, 2)]


def _name(path: str) -> str:
    return Path(path).name


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as work:
        pairs = {"fastdup": by_fastdup(sys.argv[1], work), "cleanvision": by_cleanvision(sys.argv[1])}
    Path(sys.argv[2]).write_text(json.dumps(pairs))
