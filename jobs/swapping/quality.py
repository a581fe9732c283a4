"""Whether the new column answers queries as well as the old one: by labels, by a user's queries, or by copies."""

import tempfile
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from jobs.session.progress import Progress
from jobs.swapping.gate_report import QUALITY, Gate, GateConfig
from jobs.swapping.query_set import QuerySet
from operators.api.options import ApiOptions
from operators.base.columns import ID, ROW, SHARD, URI
from operators.embed_api import is_api
from operators.fetching.options import FetchOptions
from operators.models.families import IMPORTED
from operators.models.spec import ModelDescription
from operators.storage.stores import StorageOptions
from pipelines.gate.by_images import finds_own, found_images
from pipelines.gate.by_sample import SampleMeasures
from pipelines.gate.copies import CopiedImage, NotCopied, write_copies
from pipelines.gate.paired import paired
from pipelines.gate.ranking import K, ndcg_at, recall_at
from pipelines.gate.rows import rows_with, sample_rows
from pipelines.ledger.entries import read_entries
from pipelines.reread.packed import PackedRows, one_a_uri
from pipelines.search.column import SearchColumn
from pipelines.search.example import Query
from pipelines.search.vectors import Asking, many_query_vectors
from pipelines.space.field import read_space
from pipelines.table.table import Table

_OTHERWISE = "give labels (gates.label) or queries (gates.queries) to measure by"


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Two columns of one version of a table, and how images are reached."""

    config: GateConfig
    table: Table
    dataset: Any
    old: SearchColumn
    new: SearchColumn
    storage: StorageOptions
    """Of images and weights."""
    fetch: FetchOptions
    api: ApiOptions
    packed: PackedRows
    """What reads the table's images again, those that lie in files with others too."""
    progress: Progress

    @property
    def columns(self) -> tuple[SearchColumn, SearchColumn]:
        return self.old, self.new

    @property
    def both(self) -> str:
        """SQL for the rows that are compared."""
        return rows_with(self.dataset.schema, [self.old.name, self.new.name])

    def model(self, column: SearchColumn) -> ModelDescription:
        return read_space(self.dataset.schema.field(column.name), str(self.table))[1]

    def gate(self, name: str, old_Q: np.ndarray, new_Q: np.ndarray, how: str) -> Gate:
        """The gate of a measure with one value a query."""
        name = f"{QUALITY}.{name}"
        if np.isnan(old_Q + new_Q).all():
            return not_measured(name, f"no query has a value in both columns; {how}")
        found = paired(old_Q, new_Q, resamples=self.config.resamples, seed=self.config.seed)
        return Gate(
            name=name,
            old=found.old,
            new=found.new,
            threshold=self.config.max_loss,
            bound="may lose",
            passed=not found.lost(self.config.max_loss),
            how=how,
            rows=found.queries,
            difference=found.difference,
            low=found.low,
            high=found.high,
        )


def not_measured(name: str, why: str) -> Gate:
    """A gate of which nothing is known."""
    return Gate(name=name, passed=None, how=why)


def by_labels(compared: Comparison, sample: SampleMeasures | None) -> list[Gate]:
    """kNN accuracy and mean average precision."""
    label, names = compared.config.label, ("knn_accuracy", "mean_average_precision")
    if sample is None:
        return [not_measured(f"{QUALITY}.{name}", "too few rows have both vectors") for name in names]
    how = f"by {label}, over {sample.queries:,} rows as queries, each without its own image"
    return [
        compared.gate(names[0], *sample.accuracy, f"label of most of the {sample.k} nearest, {how}"),
        compared.gate(names[1], *sample.precision, f"all rows ranked, {how}"),
    ]


def by_queries(compared: Comparison, queries: QuerySet) -> list[Gate]:
    """recall@10 and nDCG@10 of the user's queries, embedded by the model of each column."""
    names = (f"recall@{K}", f"ndcg@{K}")
    mute = [each.name for each in compared.columns if not compared.model(each).text]
    if mute and any(text is not None for text in queries.texts):
        why = f"some queries are words, and the model of {' and '.join(mute)} has no text tower"
        return [not_measured(f"{QUALITY}.{name}", why) for name in names]
    found, failed = [], 0
    for column in compared.columns:
        compared.progress.phase(f"answering {len(queries.right):,} queries by {column.name}")
        vectors = _of_queries(compared, column, queries)
        failed += sum(each is None for each in vectors)
        found.append(_answered(compared, column, vectors))
    how = f"over the {len(queries.right):,} queries of {compared.config.queries}"
    how += f"; {failed:,} of them gave no vector and count as not answered" if failed else ""
    measures = zip(names, (recall_at, ndcg_at), strict=True)
    return [
        compared.gate(name, _scores(measure, found[0], queries.right), _scores(measure, found[1], queries.right), how)
        for name, measure in measures
    ]


def _scores(
    measure: Callable[[Sequence[str], Sequence[str]], float],
    found: Sequence[Sequence[str]],
    right: Sequence[Sequence[str]],
) -> np.ndarray:
    return np.array([measure(images, ids) for images, ids in zip(found, right, strict=True)])


def _answered(compared: Comparison, column: SearchColumn, vectors: Sequence[np.ndarray | None]) -> list[Sequence[str]]:
    there = [each for each in vectors if each is not None]
    answers = iter(found_images(compared.dataset, column, there, K, compared.both) if there else [])
    return [[] if each is None else [image or "" for image in next(answers)] for each in vectors]


def _of_queries(compared: Comparison, column: SearchColumn, queries: QuerySet) -> list[np.ndarray | None]:
    asked = [
        Query.of("image", image or "") if text is None else Query.of("text", text)
        for text, image in zip(queries.texts, queries.images, strict=True)
    ]
    return _vectors(compared, column, asked)


def _vectors(compared: Comparison, column: SearchColumn, asked: Sequence[Query]) -> list[np.ndarray | None]:
    """Each query's vectors for the column; None for an image that gives none. What is wrong with the model is an
    error."""
    asking = Asking(table=compared.table, fetch=compared.fetch, storage=compared.storage, api=compared.api)
    found = many_query_vectors(asking, asked, compared.dataset, column, lambda _: nullcontext())
    return [each if isinstance(each, np.ndarray) else None for each in found]


def by_copies(compared: Comparison) -> list[Gate]:
    """R@1 of changed copies of the table's own images: the nearest image to a copy is its original."""
    name = f"{QUALITY}.copies_found"
    for column in compared.columns:
        model = compared.model(column)
        if model.spec.family == IMPORTED:
            return [not_measured(name, f"the vectors of {column.name} were imported, and no model makes others")]
        if is_api(model):
            why = f"{model.spec.name} is asked over the network and paid for; {_OTHERWISE}"
            return [not_measured(name, why)]
    place = [URI.name, SHARD.name, ROW.name]
    rows = sample_rows(
        compared.dataset, place, compared.both, compared.config.copies, compared.config.seed, images=True
    )
    if not len(rows):
        return [not_measured(name, "no row has both vectors")]
    # Of images at one URI, copies of one of them say it.
    ids = dict(zip(rows[URI.name].to_pylist(), rows[ID.name].to_pylist(), strict=True))
    with tempfile.TemporaryDirectory(prefix="pixlake-copies-") as folder:
        compared.progress.phase(f"making copies of {len(ids):,} images")
        entries = read_entries(dict(compared.dataset.metadata), {})
        read = compared.packed.rows(one_a_uri(rows), entries)
        made = list(write_copies(read, ids, Path(folder), compared.fetch))
        copied = [each for each in made if isinstance(each, CopiedImage)]
        failed = [each for each in made if isinstance(each, NotCopied)]
        if not copied:
            why = f"none of {len(ids):,} images that were drawn could be read: {_most_frequent(failed)}; {_OTHERWISE}"
            return [not_measured(name, why)]
        old, new = (_found_copies(compared, column, copied) for column in compared.columns)
    how = f"a crop, a flip and a recompression of each of {len(copied):,} images: the nearest image is the original"
    if failed:
        how += f"; {len(failed):,} more could not be read ({_most_frequent(failed)})"
    return [compared.gate("copies_found", old, new, how)]


def _most_frequent(failed: Sequence[NotCopied]) -> str:
    return Counter(each.why for each in failed).most_common(1)[0][0] if failed else "there were none"


def _found_copies(compared: Comparison, column: SearchColumn, copied: Sequence[CopiedImage]) -> np.ndarray:
    """(images,): the share of each image's copies that find it. The bootstrap draws images: copies of one are alike."""
    compared.progress.phase(f"looking for {len(copied):,} images by their copies in {column.name}")
    vectors = _vectors(compared, column, [Query.of("image", str(file)) for each in copied for file in each.files])
    own = [each.id for each in copied for _ in each.files]
    found = np.zeros(len(own))
    there = [at for at, each in enumerate(vectors) if each is not None]
    if there:
        found[there] = finds_own(
            compared.dataset,
            column,
            [each for each in vectors if each is not None],
            [own[at] for at in there],
            compared.both,
        )
    shares: np.ndarray = found.reshape(len(copied), -1).mean(axis=1)
    return shares
