"""The pipeline of ready vectors: npy and metadata -> normalize -> vector table. No image, no model."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from operators.base.columns import VECTOR
from operators.normalize import NormalizeConfig, NormalizeOptions
from operators.storage.stores import StorageOptions
from pipelines.commits.sink import Sink, vectors_schema
from pipelines.embedding.chain import labelling_operators, reducing_chain
from pipelines.embedding.columns import DerivedColumn, VectorColumn
from pipelines.manifests.manifest import SourceConfig, SourceError
from pipelines.manifests.vectors.folder import VectorFolder
from pipelines.run.pipeline import Pipeline
from pipelines.run.stage import Resources, Stage, fold_schema
from pipelines.sources.vectors import VectorSource
from pipelines.space.field import recorded_vectors, with_space
from pipelines.space.labelling import Labelling, with_labelling
from pipelines.space.record import Record, reduced_record, space_record
from pipelines.space.reduction import reduction_chain
from pipelines.table.names import TableNames

STAGE = "take_vectors"


def vector_import(
    *,
    folder: VectorFolder,
    source: SourceConfig,
    normalize: NormalizeOptions,
    derived: Sequence[DerivedColumn],
    labellings: Mapping[str, Labelling],
    names: TableNames,
    storage: StorageOptions,
    table: StorageOptions,
) -> tuple[Pipeline, VectorColumn, dict[str, Record]]:
    """The pipeline, the column of the vectors, and the space of each vector column of the table.

    The space of the imported vectors is what Pixlake recorded when it exported the folder, or else what the user says
    of them. Raises `SourceError` where neither says it, or both do.
    """
    if folder.described is not None:
        column, record, operator = _as_exported(folder, folder.described, source)
    else:
        column, record, operator = _as_declared(folder, source, normalize)
    # It waits for storage and divides: one actor keeps up with the writers.
    reducing = reducing_chain(derived, table) | labelling_operators(labellings, table)
    operators = (operator, *(config for configs in reducing.values() for config in configs))
    stages = (Stage(name=STAGE, operators=operators, resources=Resources(num_actors=1)),)
    rows = VectorSource(
        columns=folder.manifest.columns, storage=storage, dim=folder.dim, dtype=folder.dtype, facts=folder.facts
    )
    out = fold_schema(rows.schema(), stages)
    records = {VECTOR: record}
    vectors = [with_space(out.field(VECTOR), record, column.model, column.canaries)]
    for each in derived:
        chain = reduction_chain(each.reduction, each.name, table)
        records[each.name] = reduced_record(record, chain, each.name)
        vectors.append(
            with_space(out.field(each.name), records[each.name], column.model, column.canaries, each.reduction)
        )
    vectors += [with_labelling(out.field(name), labelling) for name, labelling in labellings.items()]
    sink = Sink(names=names, vectors_schema=vectors_schema(vectors, folder.manifest.columns.kept), storage=table)
    return Pipeline(source=rows, stages=stages, sink=sink), column, records


def _as_exported(
    folder: VectorFolder, described: dict[str, Any], source: SourceConfig
) -> tuple[VectorColumn, Record, NormalizeConfig]:
    """Whether the vectors are taken as they are: exported ones are normalized already, and a second time would change
    their last bits."""
    where = folder.manifest.uri
    if source.vectors is not None:
        raise SourceError(f"{where}: the record of its export says what its vectors are; leave source.vectors out")
    if "reduction" in described:
        raise SourceError(
            f"{where}: holds vectors reduced from a model's ({described['type']}); import those they were made from, "
            "and reduce them in the table"
        )
    record, model, canaries = recorded_vectors(described, where)
    dtype, stored = np.dtype(folder.dtype).name, record["normalize"]["dtype"]
    # float16 that was written as float32 is the same float16 again.
    written = described.get("written_as", stored)
    if (model.dim, written) != (folder.dim, dtype):
        raise SourceError(
            f"{where}: the record of its export tells of {model.dim}-d {written} and the files hold {folder.dim}-d "
            f"{dtype}; export again, or take the record away and say what they are in source.vectors"
        )
    precision = canaries.precision if canaries else "float32"
    column = VectorColumn(name=VECTOR, model=model, precision=precision, canaries=canaries)
    return column, record, NormalizeConfig(l2=False, dtype=stored)


def _as_declared(
    folder: VectorFolder, source: SourceConfig, normalize: NormalizeOptions
) -> tuple[VectorColumn, Record, NormalizeConfig]:
    declared = source.vectors
    if declared is None:
        raise SourceError(
            f"{folder.manifest.uri}: holds {folder.dim}-d vectors and does not say which model made them; name it with "
            '--set source.vectors.model="ANY LABEL", so that they are never mixed with another\'s. (An export of '
            f"Pixlake says it in {folder.record_uri}, which belongs beside the folder)"
        )
    operator = NormalizeConfig(**normalize.model_dump())
    record: Record = {"embed": declared.record(folder.dim), **space_record([operator], VECTOR)}
    model = declared.description(folder.dim)
    return VectorColumn(name=VECTOR, model=model, precision=declared.precision or "float32"), record, operator
