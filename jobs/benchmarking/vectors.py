"""The vectors that each model gives for the sample, its changed copies, and captions."""

import time
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from jobs.benchmarking.config import BenchmarkConfig
from jobs.benchmarking.models import Contestant
from jobs.benchmarking.sample import KIND, ORIGINAL, DrawnImages, SpilledBlocks
from operators.base.arrays import vectors_to_numpy
from operators.base.columns import ERROR, ERROR_CLASS, HEIGHT, SECONDS_PREFIX, SOURCE_SCHEMA, WIDTH
from operators.base.errors import UserError
from operators.base.operator import OperatorConfig
from operators.base.rows import good_rows
from operators.models.warm import end_warm_process
from operators.normalize import NormalizeConfig
from pipelines.balance.core_seconds import core_seconds
from pipelines.embedding.chain import operator_chain
from pipelines.embedding.columns import Options, VectorColumn
from pipelines.run.worker import working_stage

MOST_LOST = 0.05
"""Share of the images without a vector above which a model counts as failed."""


@dataclass(frozen=True, kw_only=True)
class Embedded:
    """All vectors of one model, of unit length; rows of images without one are NaN."""

    images: np.ndarray
    """(N, D) float32, in the order of the sample."""
    copies: np.ndarray
    """(C, D) float32."""
    random: np.ndarray | None
    """(R, D) float32: of the first R images, by the same network with random weights."""
    images_per_s: float | None
    """Images a second of forward passes here, by the clock; the first block, which also warms up, left out. None where
    they took no time that could be measured."""
    forward_core_s: float | None
    """CPU seconds of one image's forward pass here, by the same blocks; None where they are not told, or are too few to
    be measured."""
    wall_s: float


@dataclass(frozen=True, kw_only=True)
class CopiesTold:
    """What the copies are, beside their pixels."""

    originals: np.ndarray
    """(C,) int64: the number of each one's original in the sample."""
    kinds: np.ndarray
    """(C,) str."""


class _ForwardPace(NamedTuple):
    images_per_s: float | None
    core_s: float | None


def embed_all(
    contestant: Contestant, pixels: str, config: BenchmarkConfig, options: Options, drawn: DrawnImages
) -> Embedded:
    """Embed with one model, which is let go of at the end. Raises `UserError` where too many images get no vector."""
    started = time.monotonic()
    own = _embedding(contestant.column, pixels, config, options)
    twin = None
    try:
        images, pace = _vectors(own, contestant.column, pixels, config, drawn.originals)
        copies, _ = _vectors(own, contestant.column, pixels, config, drawn.copies)
        wall_s = time.monotonic() - started
        end_warm_process()
        if contestant.twin is not None:
            column = VectorColumn(name=contestant.column.name, model=contestant.twin, precision="float32")
            chain = _embedding(column, pixels, config, options)
            twin, _ = _vectors(chain, column, pixels, config, drawn.originals, config.random_rows)
    finally:
        end_warm_process()
    return Embedded(
        images=images,
        copies=copies,
        random=twin,
        images_per_s=pace.images_per_s,
        forward_core_s=pace.core_s,
        wall_s=wall_s,
    )


def copies_told(copies: SpilledBlocks) -> CopiesTold:
    """The originals and kinds of the changed copies."""
    blocks = [*copies.read([ORIGINAL, KIND])]
    if not blocks:
        return CopiesTold(originals=np.zeros(0, np.int64), kinds=np.zeros(0, np.str_))
    told = pa.concat_tables(blocks)
    return CopiesTold(originals=told[ORIGINAL].to_numpy(), kinds=np.array(told[KIND].to_pylist(), np.str_))


def _embedding(
    column: VectorColumn, pixels: str, config: BenchmarkConfig, options: Options
) -> tuple[OperatorConfig, ...]:
    """The operators of a run from pixels to unit vectors in float32."""
    [embed] = operator_chain((column,), options, config.cluster)["embed"]
    embed = embed.model_copy(update={"pixels": pixels, "keep_pixels": False})
    return embed, NormalizeConfig(column=column.name, l2=True, dtype="float32")


def _vectors(
    operators: tuple[OperatorConfig, ...],
    column: VectorColumn,
    pixels: str,
    config: BenchmarkConfig,
    blocks: SpilledBlocks,
    limit: int | None = None,
) -> tuple[np.ndarray, _ForwardPace]:
    """((N, D) float32, how fast)."""
    vectors = np.full((blocks.rows if limit is None else min(limit, blocks.rows), column.model.dim), np.nan, np.float32)
    done, timed, seconds, core_s, why = 0, 0, 0.0, 0.0, ""
    with working_stage(operators, config.cluster.cores_here) as embedding:
        for block in blocks.read([*SOURCE_SCHEMA.names, WIDTH.name, HEIGHT.name, pixels], limit):
            spent = core_seconds()
            after = embedding(block)
            now = core_seconds()
            good = good_rows(after).to_numpy()
            found = vectors[done : done + len(good)]
            found[good] = vectors_to_numpy(after[column.name].filter(pa.array(good)))
            if done or blocks.blocks == 1:
                timed += len(good)
                core_s += 0.0 if now is None or spent is None else now - spent
                seconds += sum(after[SECONDS_PREFIX + "embed"].to_pylist())
            bad = np.flatnonzero(~good)
            if len(bad) and not why:
                why = f"{after[ERROR_CLASS.name][bad[0]].as_py()}: {after[ERROR.name][bad[0]].as_py()}"
            done += len(good)
    lost = int(np.isnan(vectors[:, 0]).sum()) if len(vectors) else 0
    if lost > MOST_LOST * len(vectors):
        raise UserError(f"{lost:,} of {len(vectors):,} images got no vector; the first of them: {why}")
    return vectors, _ForwardPace(timed / seconds if seconds else None, core_s / timed if core_s else None)
