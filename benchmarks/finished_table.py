"""A table as an embed job leaves it, of as many rows as wanted, without an image: the run is the job's own but for its
stages, which make up what fetching, decoding and a model would give."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from jobs.embed import EmbedConfig, load
from jobs.embedding.prepare import prepare
from jobs.embedding.progress import RunProgress
from jobs.embedding.run import EmbedRun
from jobs.session.interrupts import Interrupts
from operators.base.arrays import vectors_from_numpy
from operators.base.columns import VECTOR
from operators.base.operator import Operator, OperatorConfig
from pipelines.run.stage import Resources, Stage, fold_schema

OF_ALL = {"width": 500, "height": 375, "format": "JPEG", "size_bytes": 100_000, "sha256": "0" * 64, "requests": 1}
"""Column -> what every image has there; all others are null."""
BLOCK_ROWS = 16_384
ROWS_PER_FRAGMENT = 131_072
GROUP_ROWS = 262_144
"""Of the manifest: its shards."""


@dataclass(frozen=True, kw_only=True)
class FinishedJob:
    table: str
    arguments: tuple[str, ...]
    """Of `pixlake embed`: the same job again."""


class MadeUpConfig(OperatorConfig):
    """Gives the columns that a chain would give: random unit vectors, and the same of every image."""

    name: ClassVar[str] = "embed"

    ipc_schema: bytes
    """Of the table that comes out, as Arrow serialises it."""

    @property
    def reads(self) -> frozenset[str]:
        return frozenset()

    def output_schema(self, schema: pa.Schema) -> pa.Schema:
        return pa.ipc.read_schema(pa.py_buffer(self.ipc_schema))

    def build(self) -> "MadeUp":
        return MadeUp(self)


class MadeUp(Operator[MadeUpConfig]):
    def __init__(self, config: MadeUpConfig) -> None:
        super().__init__(config)
        self.random = np.random.default_rng(0)

    def transform(self, batch: pa.Table) -> pa.Table:
        schema = self.config.output_schema(batch.schema)
        return pa.table([self._column(batch, field) for field in schema], schema=schema)

    def _column(self, batch: pa.Table, field: pa.Field) -> Any:
        if field.name in batch.column_names:
            return batch[field.name]
        if field.name == VECTOR:
            vectors = self.random.normal(size=(batch.num_rows, field.type.list_size)).astype("f4")
            unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
            return vectors_from_numpy(unit.astype(field.type.value_type.to_pandas_dtype()))
        return pa.array([OF_ALL.get(field.name)] * batch.num_rows, field.type)


def finished_job(folder: Path, rows: int) -> FinishedJob:
    """A complete job of the null model. Its images are at no place at all."""
    config, sets = made_up_job(folder, rows)
    with Interrupts() as interrupts, RunProgress() as progress:
        report = made_up_run(config, interrupts, progress).go()
    if report.status != "complete" or report.vectors != rows:
        raise RuntimeError(f"{report.status}: {report.vectors} of {rows} rows; {report.message}")
    arguments = (config.source.uri, config.table, "--model", "null", *(f"--set={each}" for each in sets))
    return FinishedJob(table=config.table, arguments=arguments)


def made_up_job(folder: Path, rows: int) -> tuple[EmbedConfig, tuple[str, ...]]:
    """(a job of a manifest of so many rows, its settings that decide what is embedded). The manifest is written where
    there is none."""
    manifest, table = folder / f"finished-{rows}.parquet", f"{folder}/lake/finished-{rows}"
    if not manifest.exists():
        schema = pa.schema([("uri", pa.string()), ("id", pa.string())])
        with pq.ParquetWriter(manifest, schema) as writer:
            for first in range(0, rows, GROUP_ROWS):
                ids = [str(number) for number in range(first, min(first + GROUP_ROWS, rows))]
                uris = [f"{folder}/nowhere/{each}.jpg" for each in ids]
                writer.write_table(pa.table({"uri": uris, "id": ids}, schema=schema))
    sets = ("source.id_column=id", "cluster.executor=local")
    made = (f"cluster.block_rows={BLOCK_ROWS}", f"cluster.rows_per_fragment={ROWS_PER_FRAGMENT}")
    base = {"source": {"uri": str(manifest)}, "table": table, "model": {"name": "null"}}
    return load(sets=[*sets, *made], base=base), sets


def made_up_run(config: EmbedConfig, interrupts: Interrupts, progress: RunProgress) -> EmbedRun:
    """The job, its stages replaced by one that makes up what they would give."""
    prepared = prepare(config, config.source, f"{config.table}__runs/manifests")
    pipeline = prepared.pipeline
    schema = fold_schema(pipeline.source.schema(), pipeline.stages)
    operators = (MadeUpConfig(ipc_schema=schema.serialize().to_pybytes()),)
    stage = Stage(name="embed", operators=operators, resources=Resources(num_actors=1))
    prepared = replace(prepared, pipeline=replace(pipeline, stages=(stage,)))
    return EmbedRun(prepared, prepared.settle(with_pilot=False).choice, "made-up", interrupts, progress)
