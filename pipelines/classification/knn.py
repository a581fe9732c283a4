"""Which class the nearest labelled rows are of: their votes, weighted by cosine.

Cover, Hart 1967, "Nearest neighbor pattern classification"; Dudani 1976, "The distance-weighted k-nearest-neighbor
rule". A row never has a vote on itself, nor have its copies.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa

from operators.base.arrays import vectors_to_numpy
from operators.normalize import l2_normalize
from operators.storage.artifacts import ArtifactRef, read_artifact
from operators.storage.stores import NO_OPTIONS, StorageOptions
from operators.vectors.class_scores import best_class, softmax
from pipelines.space.labelling import LabelPart

_BLOCK_BYTES = 64 << 20


@dataclass(frozen=True, kw_only=True)
class LabelledNeighbours:
    """Labelled rows that vote, and who is not to vote on whom."""

    units: np.ndarray
    """(M, D) float32 of unit length."""
    labels: np.ndarray
    """(M,) of int: class of each."""
    keys: np.ndarray
    """(M,) int64: has no vote on a row of the same key."""
    classes: int
    k: int

    def votes(self, units_ND: np.ndarray, keys_N: np.ndarray) -> np.ndarray:
        """(N, C) float64: each class's share of the votes of the k nearest; a cosine below 0 is none. Zeros where
        nobody votes."""
        order = np.argsort(self.keys, kind="stable")
        ordered = self.keys[order]
        first, last = (np.searchsorted(ordered, keys_N, side) for side in ("left", "right"))
        found = np.zeros((len(units_ND), self.classes))
        step = max(1, _BLOCK_BYTES // (4 * len(self.units)))
        for start in range(0, len(units_ND), step):
            rows = slice(start, start + step)
            cosines = units_ND[rows] @ self.units.T
            for at in np.flatnonzero(last[rows] > first[rows]):
                cosines[at, order[first[start + at] : last[start + at]]] = -np.inf
            found[rows] = self._counted(cosines)
        return found

    def _counted(self, cosines: np.ndarray) -> np.ndarray:
        k = min(self.k, len(self.units))
        nearest = np.argpartition(-cosines, k - 1, axis=1)[:, :k]
        weights = np.maximum(np.take_along_axis(cosines, nearest, 1), 0).astype(np.float64)
        votes = np.zeros((len(cosines), self.classes))
        np.add.at(votes, (np.arange(len(cosines))[:, None], self.labels[nearest]), weights)
        total = votes.sum(1, keepdims=True)
        return votes / np.where(total > 0, total, 1)


def vote_logits(votes_NC: np.ndarray, k: int) -> np.ndarray:
    """(N, C) what a temperature divides: the logarithms of the shares, one more vote being cast for all classes alike
    (Laplace's rule), so that no class has a share of 0."""
    logits: np.ndarray = np.log((k * votes_NC + 1 / votes_NC.shape[1]) / (k + 1))
    return logits


def same_vectors(ours: np.ndarray, others: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Keys of the rows of two arrays of stored vectors, (N,) and (M,) int64: the same where all numbers are."""
    both = np.ascontiguousarray(np.concatenate([others, ours.astype(others.dtype)]))
    rows = both.view(np.dtype((np.void, both.itemsize * both.shape[1]))).ravel()
    keys = np.unique(rows, return_inverse=True)[1].astype(np.int64)
    return keys[len(others) :], keys[: len(others)]


@dataclass
class KnnRows:
    """What a worker computes: rows of the base column to their class, score and margin, by the rows in an artifact. A
    labelled row of the very same vector, itself or a copy, has no vote."""

    artifact: ArtifactRef
    source: str
    parts: Sequence[LabelPart]
    threshold: float
    storage: StorageOptions = NO_OPTIONS
    _there: tuple[np.ndarray, LabelledNeighbours, pa.Array, float] | None = field(default=None, repr=False)

    def __getstate__(self) -> dict[str, object]:
        return {**self.__dict__, "_there": None}

    def __call__(self, rows: pa.Table) -> list[pa.Array]:
        stored, neighbours, names, temperature = self._there = self._there or self._read()
        vectors = vectors_to_numpy(rows[self.source])
        units = l2_normalize(vectors.astype(np.float32))
        ours, theirs = same_vectors(vectors, stored)
        voting = LabelledNeighbours(**{**vars(neighbours), "keys": theirs})
        votes = voting.votes(np.nan_to_num(units), ours)
        best, score, margin = best_class(softmax(vote_logits(votes, voting.k) / temperature))
        nothing = (votes.sum(1) == 0) | np.isnan(units).any(1)
        made = {
            "label": names.take(pa.array(best, mask=nothing | (score < self.threshold))),
            "score": pa.array(score, mask=nothing),
            "margin": pa.array(margin, mask=nothing),
        }
        return [made[part] for part in self.parts]

    def _read(self) -> tuple[np.ndarray, LabelledNeighbours, pa.Array, float]:
        artifact = read_artifact(self.artifact, self.storage)
        stored, labels, settings = artifact.tensors["vectors"], artifact.tensors["labels"], artifact.settings
        neighbours = LabelledNeighbours(
            units=l2_normalize(stored.astype(np.float32)),
            labels=labels,
            keys=np.zeros(0, np.int64),
            classes=len(settings["classes"]),
            k=int(settings["neighbours"]),
        )
        return stored, neighbours, pa.array(settings["classes"], pa.string()), float(settings["temperature"])
