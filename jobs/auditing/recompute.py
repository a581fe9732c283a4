"""The drawn rows embedded again, from their source, by the operators of an embed job on the table; nothing is
written."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from tempfile import TemporaryDirectory

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from jobs.config.embed import EmbedConfig
from jobs.embedding.prepare import prepare
from jobs.embedding.prepared import Prepared
from operators.base.columns import ID, URI
from operators.models.canaries import wanted_cosine
from pipelines.audit.sample import SampleAudit, compare
from pipelines.manifests.manifest import Manifest, SourceConfig
from pipelines.manifests.open import open_manifest, open_source
from pipelines.manifests.vectors.folder import VectorFolder
from pipelines.reread.manifests import OpenedManifest, source_roots
from pipelines.run.local import sized_for_threads
from pipelines.run.worker import StageWorker
from pipelines.sources.work import ShardWork, shard_work

_AT_ONCE = 64
"""Rows that go through the stages together."""
_SURE = 0.999
"""The least cosine for models without canaries, which compute in float32."""


def recompute(
    audit: SampleAudit, stored: pa.Table, job: EmbedConfig, opened: OpenedManifest, columns: Sequence[str]
) -> None:
    """Add to the audit what today's operators make of the `stored` rows, which are of one manifest.

    Rows are read from the manifest by their positions where it was opened, so that tars, images in Parquet files,
    signed URLs and boxes are read as they were; else by the URIs that the table has. Raises what `prepare` does: where
    this machine does not compute the table's space, nothing can be compared.
    """
    with _prepared(stored, job, opened) as (prepared, work, by_position):
        thresholds = _thresholds(prepared, columns)
        stages = sized_for_threads(prepared.pipeline.stages, prepared.cluster.cores_here)
        with ExitStack() as workers:
            chain = [_closed(workers, StageWorker(stage)) for stage in stages]
            for item in work:
                for block in prepared.pipeline.source.read(item, _AT_ONCE):
                    for worker in chain:
                        block = worker(block)
                    rows, block = _side_by_side(stored, block, by_position)
                    compare(audit, rows, block, thresholds, by_position=by_position)


def _closed(workers: ExitStack, worker: StageWorker) -> StageWorker:
    workers.callback(worker.close)
    return worker


@contextmanager
def _prepared(
    stored: pa.Table, job: EmbedConfig, opened: OpenedManifest
) -> Iterator[tuple[Prepared, list[ShardWork], bool]]:
    """(the job, the rows to read, whether their positions are those of the table)."""
    with TemporaryDirectory(prefix="pixlake-audit-") as folder:
        if opened.manifest is not None and not opened.moved:
            manifest = None if opened.ready_vectors else opened.manifest
            prepared = prepare(job, job.source, folder, delta=manifest)
            yield prepared, list(_work(stored, opened)), True
            return
        source = _written(stored, job, folder)
        manifest = _opened(source, job, folder)
        roots = (*job.fetch.allowed_roots, *source_roots(opened.entry.source, job.storage))
        fetch = job.fetch.model_copy(update={"allowed_roots": roots})
        job = job.model_copy(update={"source": source, "fetch": fetch})
        prepared = prepare(job, source, folder, delta=manifest)
        every = [shard_work(each, each.number, np.ones(each.num_rows, bool)) for each in manifest.shards]
        yield prepared, [each for each in every if each is not None], False


def _work(stored: pa.Table, opened: OpenedManifest) -> Iterator[ShardWork]:
    assert opened.manifest is not None
    shards, rows = (stored[name].to_numpy() for name in ("shard", "row"))
    for shard in opened.manifest.shards:
        number = opened.entry.first_shard + shard.number
        wanted = np.zeros(shard.num_rows, bool)
        wanted[rows[shards == number]] = True
        work = shard_work(shard, number, wanted)
        if work is not None:
            yield work


def _written(stored: pa.Table, job: EmbedConfig, folder: str) -> SourceConfig:
    """The rows as a manifest: ids, URIs, and the columns that say what regions there are."""
    kept = tuple(job.regions.manifest_columns) if job.regions is not None else ()
    path = f"{folder}/rows.parquet"
    pq.write_table(stored.select([ID.name, URI.name, *kept]), path)
    return SourceConfig(uri=path, uri_column=URI.name, id_column=ID.name, keep=kept)


def _opened(source: SourceConfig, job: EmbedConfig, folder: str) -> Manifest:
    files = open_source(source, job.storage)
    assert not isinstance(files, VectorFolder)
    return open_manifest(files, source, folder)


def _side_by_side(stored: pa.Table, block: pa.Table, by_position: bool) -> tuple[pa.Table, pa.Table]:
    """The stored rows of a block, and a row of the block for each: an image has several where each region has one."""
    if not by_position:
        at = block["row"].to_numpy()
        return stored.take(pa.array(at)), block
    keys = [(each["shard"].to_numpy().astype(np.int64) << 32) | each["row"].to_numpy() for each in (stored, block)]
    place = {int(key): at for at, key in enumerate(keys[1])}
    mine = [at for at, key in enumerate(keys[0]) if int(key) in place]
    return stored.take(pa.array(mine, pa.int64())), block.take(pa.array([place[int(keys[0][at])] for at in mine]))


def _thresholds(prepared: Prepared, columns: Sequence[str]) -> Mapping[str, float]:
    """Column that a model fills, and that is asked for -> the least cosine."""
    return {
        column.name: wanted_cosine(column.canaries) if column.canaries is not None else _SURE
        for column in prepared.columns
        if column.name in columns
    }
