"""Marks 1 and 2: the same photographs, the same weights, float32, whole processes: Pixlake, a plain loop, Daft, Ray."""

import json
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import lance
import numpy as np
import pyarrow.dataset as ds

from benchmarks.marks.marks import Outcome
from benchmarks.marks.setting import Setting, seconds_of
from benchmarks.peers.environments import DAFT, environment, weights_file
from benchmarks.turns import Timed, in_turn, ratio, timed

PEERS = Path(__file__).parents[1] / "peers"
LOWEST_COSINE = 0.999
"""Of vectors less their mean: float16 against float32, and the pixels of two resizers."""

Vectors = dict[str, np.ndarray]
"""File name -> (512,) float32."""


def measure(setting: Setting, wanted: set[str]) -> dict[str, Outcome]:
    weights = weights_file()
    of_peer = {"1": "plain loop", "2a": "Daft", "2b": "Ray's recipe"}
    scripts = {"plain loop": "plain_loop.py", "Daft": "daft_job.py", "Ray's recipe": "ray_recipe.py"}
    outs: dict[str, list[Path]] = {peer: [] for peer in scripts}
    tables: list[str] = []
    sides: dict[str, Callable[[], Timed]] = {"Pixlake": partial(_pixlake, setting, weights, tables)}
    for mark in sorted(wanted):
        peer = of_peer[mark]
        python = environment(DAFT) if peer == "Daft" else Path(sys.executable)
        sides[peer] = partial(_peer, setting, python, scripts[peer], weights, outs[peer])
    runs = in_turn(sides, setting.sizes.rounds)
    ours = _of_table(tables[-1])
    seconds = {side: [each.seconds for each in of_side] for side, of_side in runs.items()}
    outcomes = {}
    for mark in wanted:
        peer = of_peer[mark]
        found = ratio(seconds["Pixlake"], seconds[peer])
        lowest = lowest_cosine(ours, _of_peer(outs[peer][-1]))
        outcomes[mark] = Outcome(
            value=found.best,
            median=found.median,
            note=f"{min(seconds['Pixlake']):.1f} s and {min(seconds[peer]):.1f} s; {len(ours)} photographs",
            faults=() if lowest >= LOWEST_COSINE else (f"lowest cosine {lowest:.5f}",),
            figures={"lowest_cosine": lowest, **{each: seconds_of(runs[each]) for each in ("Pixlake", peer)}},
        )
    return outcomes


def _pixlake(setting: Setting, weights: Path, tables: list[str]) -> Timed:
    name = f"whole-{len(tables)}"
    tables.append(setting.table(name))
    return setting.embed(setting.jpegs, name, f"open_clip:ViT-B-32@{weights}", "model.precision=float32")


def _peer(setting: Setting, python: Path, script: str, weights: Path, outs: list[Path]) -> Timed:
    out = setting.folder / f"{Path(script).stem}-{len(outs)}"
    outs.append(out)
    return timed([str(python), str(PEERS / script), str(setting.jpegs), str(weights), str(out)])


def _of_table(table: str) -> Vectors:
    rows = lance.dataset(f"{table}.lance").to_table(columns=["uri", "vector"])
    names = [Path(uri).name for uri in rows["uri"].to_pylist()]
    return dict(zip(names, np.array(rows["vector"].to_pylist(), np.float32), strict=True))


def _of_peer(out: Path) -> Vectors:
    if (out / "vectors.npy").exists():
        names = json.loads((out / "names.json").read_text())
        return dict(zip(names, np.load(out / "vectors.npy"), strict=True))
    rows = ds.dataset(out).to_table(columns=["name", "vector"])
    return dict(zip(rows["name"].to_pylist(), map(_flat, rows["vector"].to_pylist()), strict=True))


def _flat(vector: object) -> np.ndarray:
    return np.asarray(vector, np.float32).reshape(-1)


def lowest_cosine(ours: Vectors, theirs: Vectors) -> float:
    """Over all photographs, each side's vectors less their mean: with random weights the vectors of all images are
    near one another. Raises `ValueError` where the two have not the same photographs."""
    if ours.keys() != theirs.keys():
        raise ValueError(f"{len(ours)} photographs and {len(theirs)}, {len(ours.keys() & theirs.keys())} in both")
    first, second = (np.stack([side[name] for name in sorted(ours)]).astype(np.float64) for side in (ours, theirs))
    first, second = first - first.mean(0), second - second.mean(0)
    norms = np.linalg.norm(first, axis=1) * np.linalg.norm(second, axis=1)
    return float(((first * second).sum(1) / norms).min())
