"""All that tells two sides of one space apart, and what two sides of any spaces agree on."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from operators.base.columns import ID, URI
from pipelines.drift.clusters import cluster_centres
from pipelines.drift.compare import Compared, Samples, compare_samples
from pipelines.drift.moments import Moments, moments_of_sums
from pipelines.drift.nearest import Agreement, agreement, nearest_cosines, nearest_other, unit_vectors
from pipelines.drift.side import Drawn, Side, decoded, find_rows, taken
from pipelines.drift.sums import FarRows, read_through

ASKED = 2000
"""Images that are looked up for near-duplicates, by which far rows are found, and that are compared between spaces."""
MOST_GROUPS = 20
_FAR_CANDIDATES = 20
"""Candidates per row that is asked for: they are found by a part of the earlier sample, and ordered by all of it."""
_LEAST_ROUNDS = 199


@dataclass(frozen=True, kw_only=True)
class SurveyOptions:
    """How two sides are compared."""

    seed: int
    sum_rows: int
    """A side with more rows is not read through."""
    group: str | None
    farthest: int
    significance: float
    other_tests: int
    """Tests beside these among which the significance is shared out."""


@dataclass(frozen=True, kw_only=True)
class SummedSide:
    """The moments of a side."""

    moments: Moments
    sampled: bool
    """Of the sample; else of all rows."""


class Nearness(NamedTuple):
    """Cosines of images to their nearest neighbour."""

    across: np.ndarray
    """(A,) of the later sample, to the earlier one."""
    within: np.ndarray
    """(A,) of the same images, to the others of the later sample."""
    within_before: np.ndarray
    """(B,) of the earlier sample, to the others of it."""


@dataclass(frozen=True, kw_only=True)
class FarRow:
    """A row far from the sample of what was there."""

    id: str | None
    uri: str | None
    cosine: float
    nearest: int
    """Index of the nearest row in the earlier sample."""


@dataclass(frozen=True, kw_only=True)
class Tested:
    """Comparisons by every measure."""

    level: float
    """p at which a measure is significant."""
    whole: Compared
    images: tuple[int, int]
    groups: dict[str, tuple[tuple[int, int], Compared]]
    """Value -> (images of each sample, the comparison)."""


class Survey:
    """Two samples of one space, with the clusters of what was there. A third of the earlier sample makes the clusters,
    and is compared with nothing: of its own points k-means would say that they lie nearer."""

    def __init__(self, before: Drawn, after: Drawn, options: SurveyOptions) -> None:
        self.before, self.after, self.options = before, after, options
        shuffled = np.random.default_rng(options.seed).permutation(len(before))
        fitted = max(1, len(before) // 3)
        self.compared = before.part(np.sort(shuffled[fitted:]))
        self.centres = cluster_centres(before.vectors[np.sort(shuffled[:fitted])], seed=options.seed)
        images = pa.chunked_array([*self.compared.images.chunks, *after.images.chunks], pa.string())
        self.samples = Samples(
            vectors=np.concatenate([self.compared.vectors, after.vectors]),
            second=np.repeat([False, True], [len(self.compared), len(after)]),
            images=images.combine_chunks().dictionary_encode().indices.to_numpy().astype(np.int64),
        )
        self.groups, self.shares = self._groups()

    def test(self) -> Tested | None:
        """Compare the samples, and each group of them; None where a sample has too few images."""
        if not self.samples.testable:
            return None
        chosen = {value: own for value, own in self.groups.items() if self.samples.of(own).testable}
        tests = 1 + len(chosen) + self.options.other_tests
        level = self.options.significance / tests
        rounds = max(_LEAST_ROUNDS, int(np.ceil(2 / level)))
        run = {"rounds": rounds, "seed": self.options.seed}
        groups = {}
        for value, own in chosen.items():
            part = self.samples.of(own)
            groups[value] = (part.sizes, compare_samples(part, self.centres, **run))
        whole = compare_samples(self.samples, self.centres, **run)
        return Tested(level=level, whole=whole, images=self.samples.sizes, groups=groups)

    def nearness(self) -> Nearness | None:
        """The nearest neighbours of up to `ASKED` images a side; None where a side has fewer than two."""
        if min(len(self.before), len(self.after)) < 2:
            return None
        random = np.random.default_rng(self.options.seed)
        before, after = unit_vectors(self.before.vectors), unit_vectors(self.after.vectors)
        asked, asked_before = (
            np.sort(random.choice(len(units), min(ASKED, len(units)), replace=False)) for units in (after, before)
        )
        return Nearness(
            across=nearest_cosines(after[asked], before)[0][:, 0],
            within=nearest_other(after, asked),
            within_before=nearest_other(before, asked_before),
        )

    def far_rows(self) -> FarRows:
        """To be given to `read_through` with the later side."""
        shuffled = np.random.default_rng(self.options.seed).permutation(len(self.before))
        references = unit_vectors(self.before.vectors[np.sort(shuffled[:ASKED])])
        return FarRows(references=references, most=_FAR_CANDIDATES * self.options.farthest)

    def far_rows_of_sample(self) -> FarRows:
        """The same of the sample alone."""
        far, rows = self.far_rows(), pa.table({ID.name: self.after.ids, URI.name: self.after.uris})
        far.add(self.after.vectors, np.arange(len(self.after)), rows)
        return far

    def farthest(self, far: FarRows) -> list[FarRow]:
        """The rows whose nearest neighbour in the earlier sample is farthest, by cosine."""
        if far.vectors is None:
            return []
        cosines, nearest = nearest_cosines(unit_vectors(far.vectors), unit_vectors(self.before.vectors))
        order = np.argsort(cosines[:, 0], kind="stable")[: self.options.farthest]
        return [
            FarRow(
                id=far.ids[at],
                uri=far.uris[at],
                cosine=float(cosines[at, 0]),
                nearest=int(nearest[at, 0]),
            )
            for at in order
        ]

    def _groups(self) -> tuple[dict[str, np.ndarray], dict[str, tuple[float, float]]]:
        """Value -> its rows, (N,) bool, and its share of each sample, for the most frequent values."""
        if self.compared.groups is None or self.after.groups is None:
            return {}, {}
        values = [_texts(each.groups) for each in (self.compared, self.after) if each.groups is not None]
        both = np.concatenate(values)
        counts = Counter(value for value in both.tolist() if value is not None)
        frequent = [value for value, _ in counts.most_common(MOST_GROUPS)]
        shares = {value: (float((values[0] == value).mean()), float((values[1] == value).mean())) for value in frequent}
        return {value: both == value for value in frequent}, shares


def _texts(values: pa.ChunkedArray) -> np.ndarray:
    """(N,) objects, None for null."""
    texts: np.ndarray = np.array(pc.cast(values, pa.string()).to_pylist(), object)
    return texts


def summed(
    side: Side,
    drawn: Drawn,
    options: SurveyOptions,
    far: FarRows | None = None,
    on_rows: Callable[[int], None] = lambda rows: None,
) -> SummedSide | None:
    """The moments of all rows of a side, and into `far` its rows; of its sample where it has more than `sum_rows`. None
    of fewer than two vectors."""
    if side.rows <= options.sum_rows:
        sums = read_through(side, far, on_rows)
        return SummedSide(moments=moments_of_sums(sums), sampled=False) if sums.rows > 1 else None
    if len(drawn) < 2:
        return None
    vectors = drawn.vectors.astype(np.float64)
    moments = Moments(rows=len(vectors), mean=vectors.mean(axis=0), covariance=np.cov(vectors, rowvar=False))
    return SummedSide(moments=moments, sampled=True)


def agreement_of_sides(before: Side, drawn: Drawn, after: Side) -> Agreement | None:
    """What both sides agree on about rows of the earlier sample that are on both; None of fewer than four."""
    chosen = np.arange(len(drawn))[:: max(1, len(drawn) // ASKED)][:ASKED]
    first = drawn.part(chosen)
    places = find_rows(after.dataset, first.keys)
    at = np.array([places.get(key, -1) for key in first.keys.to_pylist()], np.int64)
    there = np.flatnonzero(at >= 0)
    order = there[np.argsort(at[there], kind="stable")]
    found = [
        decoded(after.column, rows, one_of=rows[ID.name])
        for rows in taken(after.dataset, at[order], [after.column.name, ID.name])
    ]
    if not found:
        return None
    whole = np.concatenate([each[1] for each in found])
    vectors = np.concatenate([each[0] for each in found])
    return agreement(first.vectors[order[whole]], vectors)
