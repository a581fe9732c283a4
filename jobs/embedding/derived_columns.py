"""Which columns an embed run derives from its models' columns, vectors and what says which group a vector is of: those
that the table has, and those asked for."""

from collections.abc import Collection, Mapping, Sequence

import pyarrow as pa

from jobs.config.embed import EmbedConfig
from jobs.config.model_names import trained_dims
from operators.base.errors import PlanError
from operators.base.operator import OperatorConfig
from operators.storage.artifacts import read_artifact
from operators.storage.stores import StorageOptions
from operators.vectors.codecs import FITTED
from pipelines.embedding.columns import DerivedColumn, VectorColumn
from pipelines.space.choose import choose_base
from pipelines.space.field import digest_of, read_reductions
from pipelines.space.labelling import Labelling, describe_labelling, locate_labelling, read_labellings
from pipelines.space.record import space_record
from pipelines.space.reduce_options import ReduceOptions, locate_artifacts, resolve_reduction
from pipelines.space.reduction import Reduction
from pipelines.table.names import TableNames


def derived_columns(
    config: EmbedConfig,
    columns: Sequence[VectorColumn],
    chain: Mapping[str, tuple[OperatorConfig, ...]],
    schema: pa.Schema | None,
) -> tuple[DerivedColumn, ...]:
    """The derived columns in the table's order, new ones last. `schema` is the table's, where there is one.

    A run fills whatever the table derives, so that rows that come later lack nothing. Raises `PlanError` for a new
    column where the table already has rows, which would lack it, and what `resolve_reduction` raises.
    """
    there = {} if schema is None else derived_there(config.table, schema, config.storage_of_table)
    missing = [name for name in config.reduce if name not in there]
    if schema is not None and missing:
        raise PlanError(
            f"table {config.table}: has rows, and no column {missing[0]}: add it to the rows that are there with "
            f"`pixlake reduce {config.table} {missing[0]}`; later runs fill it too"
        )
    asked = {name: _resolve(config, name, options, columns, chain) for name, options in config.reduce.items()}
    reductions = {name: asked.get(name, reduction) for name, reduction in there.items()} | asked
    return tuple(DerivedColumn(name=name, reduction=reduction) for name, reduction in reductions.items())


def derived_there(table: str, schema: pa.Schema, storage: StorageOptions) -> dict[str, Reduction]:
    """The table's derived columns, each artifact at its present and its recorded place. Raises `ArtifactError`."""
    folder = TableNames.from_table(table).artifacts
    found = {name: locate_artifacts(each, folder, storage) for name, each in read_reductions(schema).items()}
    for reduction in found.values():
        fitted = reduction.pca or reduction.head
        for ref in (fitted.artifact if fitted else None, reduction.quantizer):
            if ref is not None:
                read_artifact(ref, storage)
    return found


def _resolve(
    config: EmbedConfig,
    name: str,
    options: ReduceOptions,
    columns: Sequence[VectorColumn],
    chain: Mapping[str, tuple[OperatorConfig, ...]],
) -> Reduction:
    there = {column.name: column for column in columns}
    base = there[choose_base(options.base, list(there), where=f"reduce.{name}", option="base", derived=config.reduce)]
    reduction = resolve_reduction(
        options,
        column=name,
        base=base.name,
        dim=base.model.dim,
        record=space_record([each for group in chain.values() for each in group], base.name),
        trained_dims=(*config.columns[base.name].matryoshka_dims, *trained_dims(base.model)),
        storage=config.storage_of_table,
    )
    if reduction.precision in FITTED and reduction.quantizer is None:
        raise PlanError(
            f"reduce.{name}: quantize {reduction.precision} needs a quantizer that was fitted on such vectors, and "
            f"there are none yet: embed without it first, then `pixlake reduce` fits one and fills the column"
        )
    return reduction


def labelled_columns(
    config: EmbedConfig, filled: Collection[str], kept: Collection[str], schema: pa.Schema | None
) -> dict[str, Labelling]:
    """Column -> how it is made, with its artifact at its present place. `filled` are the models' columns of the run,
    `kept` those of its manifest.

    Those by labelled neighbours are left out: these were asked once. Raises
    `PlanError` where the manifest has a column of such a name, `ArtifactError` where an artifact is gone.
    """
    there = {} if schema is None else read_labellings(schema)
    both = [name for name in there if name in kept]
    if both:
        raise PlanError(
            f"table {config.table}: {both[0]} is {describe_labelling(there[both[0]])}, and the source has a column of "
            "that name; leave it out of source.keep, or give it another name with --rename"
        )
    folder, storage = TableNames.from_table(config.table).artifacts, config.storage_of_table
    found = {
        name: locate_labelling(each, folder, storage)
        for name, each in there.items()
        if each.fills_later_rows and each.base in filled and _is_its_base(each, schema)
    }
    for labelling in found.values():
        read_artifact(labelling.artifact, storage)
    return found


def _is_its_base(labelling: Labelling, schema: pa.Schema | None) -> bool:
    """Whether the column of that name still holds vectors of the space that the groups were made in."""
    if schema is None or labelling.base not in schema.names:
        return False
    return digest_of(schema.field(labelling.base)) == labelling.space_digest
