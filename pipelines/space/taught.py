"""The one way from a teacher's queries to the vectors of its student: a student that was taught for it, and measured.

A student's vectors are in a space of its own: a table, a run or a query never takes them for the teacher's. Its card
may say that they can be searched by the teacher's queries too; who wants that asks for it by name.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from operators.models.canaries import Canaries
from operators.models.saved.card import SAVED, ModelCard, TeacherSpace
from operators.models.spec import ModelDescription
from operators.normalize import l2_normalize
from pipelines.space.bridge import BridgeError
from pipelines.space.field import digest_of, read_canaries, read_space, vector_columns
from pipelines.space.record import Record


@dataclass(frozen=True, kw_only=True)
class TaughtWay:
    """A teacher whose queries search a student's column."""

    taught: TeacherSpace
    space: Record
    """The teacher's."""
    model: ModelDescription
    canaries: Canaries | None

    def bridged(self, vectors_ND: np.ndarray) -> np.ndarray:
        """(N, dim) float32 of unit length: the teacher's own vectors, as they are."""
        return l2_normalize(vectors_ND.astype(np.float32))


def teacher_of(model: ModelDescription) -> TeacherSpace | None:
    """What a model's card says of a teacher whose queries may search its vectors; None where it says nothing."""
    if model.spec.family != SAVED or model.architecture_config is None:
        return None
    return ModelCard.model_validate(model.architecture_config).teacher


def taught_way(table: str, field: pa.Field, taught: TeacherSpace, schemas: Iterable[pa.Schema]) -> TaughtWay:
    """The teacher of a column, as it is recorded in the first of the schemas that has its space. Raises `BridgeError`
    where none has."""
    dim = read_space(field, table)[1].dim
    for schema in schemas:
        for name in vector_columns(schema):
            found = schema.field(name)
            if digest_of(found) == taught.space_digest and read_space(found, table)[1].dim == dim:
                record, model = read_space(found, table)
                return TaughtWay(taught=taught, space=record, model=model, canaries=read_canaries(found))
    raise BridgeError(
        f"table {table}: {field.name} was taught by {taught.model}, whose space is told by no column of this table, "
        f"nor by {taught.column} of {taught.table}, where it was: put that table back, or search without --by-teacher"
    )
