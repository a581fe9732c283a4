"""What shorter and coarser vectors keep: fitted on one half of the images, measured on the other."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from operators.pca import project
from operators.storage.artifacts import ArtifactError
from operators.vectors.codecs import Codec, StoragePrecision, fit_codec, make_codec
from operators.vectors.exact_sums import GRID_BITS, ExactSums
from operators.vectors.pca_fit import fit_pca
from pipelines.judging.labelled import ScoresOf, label_scores, without_own

DIMS = (512, 256, 128, 64)
PQ_BYTES = (64, 32)
CANDIDATES = 10
"""Candidates of a coarse search for each neighbour asked for, where they are ordered anew by the full vectors."""
K = 10

Shorten = Callable[[np.ndarray], np.ndarray]
"""From (N, D) float32 to (N, d) float32, both of unit length."""


@dataclass(frozen=True, kw_only=True)
class Representation:
    """A way of storing vectors, measured on the half that nothing was fitted on."""

    name: str
    dim: int
    bytes_per_vector: float
    """Bytes that a search reads of each vector to find candidates."""
    bytes_stored: float
    """The same with those by which candidates are ordered anew."""
    recall: np.ndarray
    """(M,) float64: share of an image's ten nearest others by the full float32 vectors that it finds."""
    right: np.ndarray | None
    """(M,) float64: whether most of the ten nearest have its label; None without labels."""
    codec: Codec
    shorten: Shorten
    """From full vectors to those that the codec stores."""
    rescored: bool


@dataclass(frozen=True)
class NotFitted:
    """A way of storing vectors that these images do not suffice for, and why."""

    name: str
    why: str


@dataclass(frozen=True, kw_only=True)
class Halves:
    """The images in two halves, with the groups of each whole in one of them."""

    fitted: np.ndarray
    """(F,) int64: images that PCAs and quantizers are fitted on."""
    measured: np.ndarray
    """(M,) int64."""


def halves(groups_N: np.ndarray, seed: int) -> Halves:
    """Split by groups, as evenly as whole groups allow."""
    groups, sizes = np.unique(groups_N, return_counts=True)
    order = np.random.default_rng(seed).permutation(len(groups))
    taken = groups[order[np.cumsum(sizes[order]) - sizes[order] < len(groups_N) / 2]]
    first = np.isin(groups_N, taken)
    return Halves(fitted=np.flatnonzero(first), measured=np.flatnonzero(~first))


def representations(
    unit_ND: np.ndarray, groups_N: np.ndarray, labels_N: np.ndarray | None, *, seed: int
) -> Iterator[Representation | NotFitted]:
    """Full vectors, PCA and truncation to each of `DIMS`, int8, binary with and without rescoring, and PQ, of (N, D)
    float32 unit vectors. A label below 0 is none."""
    split = halves(groups_N, seed)
    fitted, measured = unit_ND[split.fitted], unit_ND[split.measured]
    groups = groups_N[split.measured]
    labels = None if labels_N is None else labels_N[split.measured]
    truth = without_own(lambda part: measured[part] @ measured.T, slice(0, len(measured)), groups)
    judge = _Judge(truth=truth, groups_N=groups, labels_N=labels)
    dim = unit_ND.shape[1]
    yield judge.measured("float16", make_codec("float16", dim), measured, 2 * dim, _as_it_is)
    for shorter in (each for each in DIMS if each < dim):
        yield from _shorter(judge, fitted, measured, shorter)
    for precision, pq_bytes in _coarse(dim):
        yield from _coarser(judge, fitted, measured, precision, pq_bytes)


def _coarse(dim: int) -> list[tuple[StoragePrecision, int]]:
    return [("int8", 0), ("binary", 0), *(("pq", each) for each in PQ_BYTES if dim % each == 0 and each < dim)]


def _as_it_is(vectors_ND: np.ndarray) -> np.ndarray:
    return vectors_ND


@dataclass(frozen=True, kw_only=True)
class _Judge:
    truth: np.ndarray
    """(M, M) float32: scores by the full vectors, minus infinity for images of one group."""
    groups_N: np.ndarray
    labels_N: np.ndarray | None

    def measured(self, name: str, codec: Codec, full_ND: np.ndarray, size: float, shorten: Shorten) -> Representation:
        vectors_ND = shorten(full_ND)
        codes = codec.encode(vectors_ND)
        found = without_own(
            lambda part: codec.scores(vectors_ND[part], codes), slice(0, len(vectors_ND)), self.groups_N
        )
        return self.of_scores(name, found, codec, size, shorten=shorten)

    def of_scores(
        self,
        name: str,
        found: np.ndarray,
        codec: Codec,
        size: float,
        *,
        shorten: Shorten = _as_it_is,
        beside: float = 0.0,
    ) -> Representation:
        """`beside`: bytes of the full vectors that candidates are ordered by."""
        return Representation(
            name=name,
            dim=codec.dim,
            bytes_per_vector=size,
            bytes_stored=size + beside,
            recall=recall_shares(found, self.truth),
            right=self._right(lambda part: found[part]),
            codec=codec,
            shorten=shorten,
            rescored=beside > 0,
        )

    def rescored(self, name: str, coarse: Codec, vectors_ND: np.ndarray, size: float) -> Representation:
        """Candidates by the codes, ordered by the full vectors."""
        codes = coarse.encode(vectors_ND)
        found = without_own(
            lambda part: coarse.scores(vectors_ND[part], codes), slice(0, len(vectors_ND)), self.groups_N
        )
        candidates = np.argsort(-found, axis=1, kind="stable")[:, : CANDIDATES * K]
        ordered = np.full_like(found, -np.inf)
        np.put_along_axis(ordered, candidates, np.take_along_axis(self.truth, candidates, 1), 1)
        return self.of_scores(name, ordered, coarse, size, beside=2 * vectors_ND.shape[1])

    def _right(self, scores: ScoresOf) -> np.ndarray | None:
        if self.labels_N is None:
            return None
        # An image without a label is no neighbour either: it cannot vote.
        there = np.flatnonzero(self.labels_N >= 0)
        right = np.full(len(self.labels_N), np.nan)
        within = label_scores(
            lambda part: scores(slice(None))[there[part]][:, there],
            self.labels_N[there],
            self.groups_N[there],
            (K,),
            ranked=False,
        )
        right[there] = within.right[K]
        return right


def recall_shares(found_MM: np.ndarray, truth_MM: np.ndarray) -> np.ndarray:
    """(M,): share of the nearest `K` by `truth` that are among those found; images as near as the last of them are
    right as well. NaN for an image without others."""
    shares = np.full(len(truth_MM), np.nan)
    for at, (found, truth) in enumerate(zip(found_MM, truth_MM, strict=True)):
        k = min(K, int((truth > -np.inf).sum()))
        if k:
            kth = np.partition(truth, -k)[-k]
            best = np.argsort(-found, kind="stable")[:k]
            shares[at] = ((truth[best] >= kth - 1e-6) & (truth[best] > -np.inf)).mean()
    return shares


def _shorter(judge: _Judge, fitted: np.ndarray, measured: np.ndarray, dim: int) -> Iterator[Representation | NotFitted]:
    codec = make_codec("float16", dim)
    name = f"pca {dim}"
    if len(fitted) > dim:
        sums = ExactSums(fitted.shape[1], GRID_BITS["float32"])
        sums.add(fitted)
        pca = fit_pca(sums, dim, whiten=False)
        yield judge.measured(
            name, codec, measured, 2 * dim, lambda full: _unit(project(full, pca.mean, pca.components))
        )
    else:
        yield NotFitted(name, f"needs more than {dim:,} images to be fitted on, half of the sample is {len(fitted):,}")
    yield judge.measured(f"first {dim}", codec, measured, 2 * dim, lambda full: _unit(full[:, :dim]))


def _coarser(
    judge: _Judge, fitted: np.ndarray, measured: np.ndarray, precision: StoragePrecision, pq_bytes: int
) -> Iterator[Representation | NotFitted]:
    name = f"pq {pq_bytes} bytes" if precision == "pq" else precision
    try:
        artifact = fit_codec(precision, fitted, pq_bytes=pq_bytes, space={})
    except ArtifactError as error:
        yield NotFitted(name, str(error).removeprefix("pq: "))
        return
    codec = make_codec(precision, fitted.shape[1], artifact)
    size = codec.width * codec.value_type.bit_width / 8
    yield judge.measured(name, codec, measured, size, _as_it_is)
    if precision == "binary":
        yield judge.rescored(f"{name}, rescored", codec, measured, size)


def _unit(vectors_ND: np.ndarray) -> np.ndarray:
    lengths = np.linalg.norm(vectors_ND, axis=1, keepdims=True)
    unit: np.ndarray = vectors_ND / np.where(lengths > 0, lengths, 1)
    return unit


def pareto(costs: Sequence[float], gains: Sequence[float]) -> list[bool]:
    """Which of several choices no other one beats: none costs as little or less and gains more, or costs less and gains
    as much."""
    pairs = list(zip(costs, gains, strict=True))
    return [not any((c <= cost and g > gain) or (c < cost and g >= gain) for c, g in pairs) for cost, gain in pairs]
