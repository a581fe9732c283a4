"""An embed job for ready vectors: no model is resolved, no image is fetched."""

from jobs.config.embed import EmbedConfig
from jobs.embedding.derived_columns import derived_there, labelled_columns
from jobs.embedding.prepared import Prepared, writable_table
from operators.base.columns import VECTOR
from pipelines.embedding.columns import DerivedColumn
from pipelines.embedding.vector_import import vector_import
from pipelines.manifests.kept_names import check_names, check_unmistakable
from pipelines.manifests.manifest import SourceConfig, SourceError
from pipelines.manifests.vectors.folder import VectorFolder
from pipelines.space.check import check_spaces
from pipelines.table.layout import layout_of
from pipelines.table.names import TableNames


def prepare_vectors(config: EmbedConfig, source: SourceConfig, folder: VectorFolder, names: TableNames) -> Prepared:
    """The job for ready vectors: no model is resolved, and none may be asked for. Columns that the table derives are
    made too."""
    check_names(source, [VECTOR])
    if config.model is None or config.model.model_fields_set:
        raise SourceError(f"{folder.manifest.uri}: holds ready vectors, which no model embeds; leave the model out")
    if config.regions is not None:
        raise SourceError(f"{folder.manifest.uri}: holds ready vectors; regions are parts of images: leave them out")
    if config.reduce:
        raise SourceError(
            f"{folder.manifest.uri}: ready vectors are first taken in as they are; leave `reduce` out, and derive "
            f"columns with `pixlake reduce {config.table} NEW_COLUMN` then: later runs fill them"
        )
    existing = None if config.overwrite else writable_table(config, names)
    check_unmistakable(source, [VECTOR], existing.schema.names if existing else ())
    if existing is not None and layout_of(existing.schema) is not None:
        raise SourceError(
            f"table {config.table}: keeps the regions of images, which ready vectors do not tell; take them into a "
            "table of their own"
        )
    reductions = derived_there(config.table, existing.schema, config.storage_of_table) if existing else {}
    derived = tuple(DerivedColumn(name=name, reduction=reduction) for name, reduction in reductions.items())
    kept = [field.name for field in folder.manifest.columns.kept]
    labellings = labelled_columns(config, [VECTOR], kept, existing.schema if existing else None)
    pipeline, column, records = vector_import(
        folder=folder,
        source=source,
        normalize=config.normalize,
        derived=derived,
        labellings=labellings,
        names=names,
        storage=config.storage,
        table=config.storage_of_table,
    )
    if existing is not None:
        check_spaces(existing.schema, records, config.table)
    return Prepared(
        config=config.model_copy(update={"model": None}),
        names=names,
        manifest=folder.manifest,
        columns=(column,),
        pipeline=pipeline,
        derived=derived,
        labellings=labellings,
        records=records,
        existing=existing,
    )
