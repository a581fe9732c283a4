"""Columns that say of each vector which group it is of: how they are made, recorded in their own metadata.

Such a column is no vector and has no space; it is made of one vector column by one artifact, and stays right for rows
that come later because the embed run that writes them makes it too.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import pyarrow as pa
from pydantic import BaseModel, ConfigDict, PositiveInt

from operators.assign import AssignConfig
from operators.base.columns import ERROR_FIELDS
from operators.base.counted import counted
from operators.base.errors import clean_message
from operators.base.operator import Operator, OperatorConfig
from operators.classify import ClassifyVectorsConfig
from operators.storage.artifacts import ArtifactRef, locate_artifact
from operators.storage.stores import NO_OPTIONS, StorageOptions
from pipelines.space.field import SpaceError, read_reductions

LABELLING_KEY = b"pixlake.labelling"
"""Field metadata key of such a column."""
LABELLING = ("assign", "classify")
"""Names of the operators, in the order of the chain."""

LabelMethod = Literal["cluster", "zero_shot", "probe", "knn"]
LabelPart = Literal["cluster", "cosine", "label", "score", "margin"]
KINDS: dict[LabelPart, pa.DataType] = {
    "cluster": pa.int32(),
    "cosine": pa.float32(),
    "label": pa.string(),
    "score": pa.float32(),
    "margin": pa.float32(),
}


class Labelling(BaseModel):
    """How such a column is made of the stored vectors of its base column. Stored with the column."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    method: LabelMethod
    part: LabelPart
    """What this one of the columns holds."""
    base: str
    """The column of a model."""
    space_digest: str
    """Digest of the base column's space."""
    groups: PositiveInt
    """Number of clusters or classes."""
    artifact: ArtifactRef
    """Centres, classes, or the labelled rows that vote."""
    threshold: float = 0.0
    """A class of a smaller score is not given."""
    learned_from: str | None = None
    """The column of labels that it was learned from."""
    neighbours: PositiveInt | None = None
    """How many vote, by `knn`."""

    @property
    def fills_later_rows(self) -> bool:
        """Whether an embed run makes the column too. What neighbours say is asked once."""
        return self.method != "knn"

    def makes_the_same(self, other: "Labelling") -> bool:
        """Whether both make the same of vectors of the same space, however the base column is called and wherever the
        artifact lies."""
        left_out: Any = {"base": True, "artifact": {"uri"}}
        return self.model_dump(exclude=left_out) == other.model_dump(exclude=left_out)


def with_labelling(field: pa.Field, labelling: Labelling) -> pa.Field:
    """The field of such a column carrying how it is made."""
    return field.with_metadata({LABELLING_KEY: labelling.model_dump_json().encode()})


def labelling_field(name: str, labelling: Labelling) -> pa.Field:
    """The field in a table with a vector a row."""
    return with_labelling(pa.field(name, KINDS[labelling.part]), labelling)


def read_labelling(field: pa.Field) -> Labelling | None:
    """How the column is made; None for any other column. Raises `SpaceError` for what this Pixlake did not write."""
    stored = (field.metadata or {}).get(LABELLING_KEY)
    try:
        return None if stored is None else Labelling.model_validate_json(stored)
    except ValueError as error:
        raise SpaceError(
            f"column {field.name!r}: what is recorded of how it is made was written by another release of Pixlake, or "
            f"damaged: {clean_message(str(error))}"
        ) from error


def read_labellings(schema: pa.Schema) -> dict[str, Labelling]:
    """Such a column of a table -> how it is made."""
    found = {field.name: read_labelling(field) for field in schema}
    return {name: labelling for name, labelling in found.items() if labelling is not None}


def same_labelling(one: pa.Field, other: pa.Field) -> bool:
    """Whether two fields are such columns made in the same way, or neither is one."""
    first, second = read_labelling(one), read_labelling(other)
    if first is None or second is None:
        return first is second
    return first.makes_the_same(second)


def made_of(schema: pa.Schema) -> dict[str, str]:
    """Column that is derived of a model's column, vectors or labels -> that column."""
    derived = {name: reduction.base for name, reduction in read_reductions(schema).items()}
    return derived | {name: labelling.base for name, labelling in read_labellings(schema).items()}


def locate_labelling(labelling: Labelling, folder: str, storage: StorageOptions) -> Labelling:
    """A recorded one with its artifact at its present place; `folder` is the one beside the table. Raises
    `ArtifactError`."""
    return labelling.model_copy(update={"artifact": locate_artifact(labelling.artifact, folder, storage)})


def labelling_chain(
    labellings: Mapping[str, Labelling], storage: StorageOptions = NO_OPTIONS
) -> tuple[OperatorConfig, ...]:
    """The operators that make these columns, one for all columns that one artifact makes; none for `knn`."""
    groups: dict[str, dict[str, Labelling]] = {}
    for name, labelling in labellings.items():
        if labelling.fills_later_rows:
            whole = labelling.model_copy(update={"part": "label"}).model_dump_json()
            groups.setdefault(whole, {})[name] = labelling
    return tuple(sorted((_operator(group, storage) for group in groups.values()), key=_place))


def _place(config: OperatorConfig) -> int:
    return LABELLING.index(config.name)


def _operator(group: Mapping[str, Labelling], storage: StorageOptions) -> OperatorConfig:
    one = next(iter(group.values()))
    parts = {part: tuple(name for name, each in group.items() if each.part == part) for part in KINDS}
    if one.method == "cluster":
        return AssignConfig(
            artifact=one.artifact, source=one.base, cluster=parts["cluster"], cosine=parts["cosine"], storage=storage
        )
    return ClassifyVectorsConfig(
        artifact=one.artifact,
        threshold=one.threshold,
        source=one.base,
        label=parts["label"],
        score=parts["score"],
        margin=parts["margin"],
        storage=storage,
    )


@dataclass
class LabelRows:
    """What a worker computes: rows of the base column to values of these columns. Pickled as its config, and built
    where it is first used."""

    config: OperatorConfig
    source: str
    columns: Sequence[str]
    _operator: Operator[OperatorConfig] | None = field(default=None, repr=False)

    def __getstate__(self) -> dict[str, object]:
        return {**self.__dict__, "_operator": None}

    def __call__(self, rows: pa.Table) -> list[pa.Array]:
        if self._operator is None:
            self._operator = self.config.build()
        vectors = rows[self.source].combine_chunks()
        schema = pa.schema([pa.field(self.source, vectors.type), *ERROR_FIELDS])
        table = pa.table([vectors, *(pa.nulls(len(vectors), each.type) for each in ERROR_FIELDS)], schema=schema)
        made = self._operator(table)
        return [made[name].combine_chunks() for name in self.columns]


def describe_labellings(labellings: Mapping[str, Labelling]) -> list[tuple[str, str]]:
    """(the columns that one artifact makes of one base, how), the column of clusters or classes first."""
    groups: dict[tuple[str, str, float], dict[str, Labelling]] = {}
    for name, each in labellings.items():
        groups.setdefault((each.base, each.artifact.sha256, each.threshold), {})[name] = each
    order = list(KINDS)
    found = []
    for group in groups.values():
        names = sorted(group, key=lambda name: order.index(group[name].part))
        found.append((", ".join(names), describe_labelling(group[names[0]])))
    return found


def describe_labelling(labelling: Labelling) -> str:
    """How the column is made, in one line for a person."""
    groups, base = labelling.groups, labelling.base
    file = f" ({labelling.artifact.uri.rpartition('/')[2]})"
    under = f", none under {labelling.threshold:g}" if labelling.threshold else ""
    what = {"cosine": "cosine to the centre, ", "score": "score, ", "margin": "margin to the next class, "}
    head = what.get(labelling.part, "")
    match labelling.method:
        case "cluster":
            return f"{head}by {counted(groups, 'cluster')} of {base}{file}"
        case "zero_shot":
            return f"{head}by the names of {counted(groups, 'class', 'classes')}, of {base}{file}{under}"
        case "probe":
            return f"{head}by a linear probe of {base} learned from {labelling.learned_from}{file}{under}"
        case _:
            return (
                f"{head}by {labelling.neighbours} neighbours in {base} with {labelling.learned_from}{file}{under}; "
                "rows that came later have none"
            )
