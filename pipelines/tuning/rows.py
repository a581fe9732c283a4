"""What a source says of its images, as a model is tuned by it, and which of them are held out."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from operators.base.columns import ID, SHA256, URI
from operators.base.errors import UserError
from pipelines.classification.labelled import components, split_groups

TuneObjective = Literal["labels", "pairs", "captions"]
STOPPING = 0.2
"""Of the images that are not tested, those by which training is stopped."""
HELD_OUT, TESTED = 512, 4096
"""Images by which training is stopped, and that the figures are of, at most."""


@dataclass(frozen=True, kw_only=True)
class TuneRows:
    """N images that say what is needed, by their positions among those that are stored."""

    positions: np.ndarray
    """(N,) int64."""
    labels: np.ndarray | None
    """(N,) int64: number of each image's label, or of its group of pairs; None without any."""
    classes: tuple[str, ...]
    """The labels by their numbers; empty for groups of pairs."""
    captions: pa.Array | None
    """(N,) string, where there are."""
    groups: np.ndarray
    """(N,) int64: images of one number never stand on two sides of a split."""
    own: np.ndarray
    """(N,) int64: an image is not asked about those of its own number: the same bytes, or `group`."""
    ids: pa.Array
    """(N,) string."""

    def __len__(self) -> int:
        return len(self.positions)

    @property
    def alike(self) -> np.ndarray | None:
        """(N,) int64: images with one number have the same caption or the same bytes, so that each other's text is no
        wrong one; None without captions."""
        if self.captions is None:
            return None
        return components([self.captions, pa.array(self.own)], len(self))


@dataclass(frozen=True, kw_only=True)
class TuneSplit:
    """Places of the rows on each side, (M,) int64 each, sorted."""

    train: np.ndarray
    held: np.ndarray
    """By which training is stopped."""
    tested: np.ndarray
    """That had no part in it."""


def rows_of(
    table: pa.Table, *, label: str | None, captions: str | None, pairs: pa.Table | None, group: str | None
) -> TuneRows:
    """The rows of a table of stored images that have what is named, in its order. `pairs` are of `read_pairs`, by `id`,
    or by `uri` where no id is known. Raises `UserError` where no row has it."""
    joined = None if pairs is None else _joined(table, pairs)
    needed = [table[each].is_valid() for each in (label, captions) if each is not None]
    needed += [pc.is_valid(joined)] if joined is not None else []
    has = np.logical_and.reduce([np.asarray(each.to_numpy(zero_copy_only=False), bool) for each in needed])
    positions = np.flatnonzero(has)
    what = " and ".join(each for each in (label, captions, "a place in --pairs" if pairs is not None else None) if each)
    if not len(positions):
        raise UserError(f"none of {table.num_rows:,} images has {what}")
    table = table.filter(pa.array(has))
    keys = [table[each].combine_chunks() for each in (SHA256.name, group) if each is not None]
    own = components(keys, table.num_rows)
    groups, labels = own, None
    classes: tuple[str, ...] = ()
    if joined is not None:
        mates = joined.filter(pa.array(has))
        groups, labels = components([*keys, mates], table.num_rows), _numbers(mates)[0]
    elif label is not None:
        labels, classes = _numbers(pc.cast(table[label].combine_chunks(), pa.string()))
    return TuneRows(
        positions=positions,
        labels=labels,
        classes=classes,
        captions=None if captions is None else pc.cast(table[captions].combine_chunks(), pa.string()),
        groups=groups,
        own=own,
        ids=table[ID.name].combine_chunks(),
    )


def split_rows(rows: TuneRows, *, test: float, seed: int) -> TuneSplit:
    """Whole groups on one side each; `test` is the share that is tested. Raises `UserError` where a side is too small
    to learn from or to judge by."""
    rest = 1 - test
    train, held, tested = split_groups(rows.groups, (rest * (1 - STOPPING), rest * STOPPING), seed=seed)
    if min(len(train), len(held), len(tested)) < 4:
        raise UserError(
            f"{len(rows):,} images in {len(np.unique(rows.groups)):,} groups are too few to train on some, to stop by "
            f"some and to test on the rest ({len(train)}, {len(held)} and {len(tested)}): name more, or group less"
        )
    if rows.labels is not None:
        for side, what in ((train, "train on"), (held, "stop by"), (tested, "test on")):
            counts = np.unique(rows.labels[side], return_counts=True)[1]
            if len(counts) < 2 or counts.max() < 2:
                raise UserError(
                    f"{len(side):,} images to {what} have {len(counts):,} labels or groups; two of different ones and "
                    "two of the same one are needed at least: label more images, or draw more with --sample"
                )
    random = np.random.default_rng(seed)
    held, tested = (np.sort(random.permutation(side)[:most]) for side, most in ((held, HELD_OUT), (tested, TESTED)))
    return TuneSplit(train=train, held=held, tested=tested)


def _joined(table: pa.Table, pairs: pa.Table) -> pa.Array:
    """(N,): the group of each image, null where it has none."""
    known = pairs["id"].combine_chunks()
    for name in (ID.name, URI.name):
        found = pc.index_in(table[name].combine_chunks(), value_set=known)
        if found.null_count < len(found):
            return pairs["group"].combine_chunks().take(found)
    raise UserError(
        f"none of {len(known):,} ids in --pairs is the id of an image of the source, such as {table[ID.name][0]} "
        f"(of {table[URI.name][0]}): name the column of the source that holds them with --set source.id_column=NAME"
    )


def _numbers(values: pa.Array) -> tuple[np.ndarray, tuple[str, ...]]:
    """((N,) int64 numbers, in the order of the values that they stand for; these values as text)."""
    codes = pc.dictionary_encode(values)
    order = np.array(pc.sort_indices(codes.dictionary))
    rank = np.empty(len(order), np.int64)
    rank[order] = np.arange(len(order))
    names = tuple(str(each) for each in codes.dictionary.take(pa.array(order)).to_pylist())
    return rank[codes.indices.to_numpy(zero_copy_only=False)], names
