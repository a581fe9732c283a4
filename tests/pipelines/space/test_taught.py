"""Whose queries may search a student's column."""

import json

import numpy as np
import pyarrow as pa
import pytest

from operators.models.saved.card import TeacherSpace
from operators.models.spec import ModelDescription, ModelSpec
from operators.pixels.preprocess import Preprocess
from pipelines.space.bridge import BridgeError
from pipelines.space.field import with_space
from pipelines.space.record import space_digest
from pipelines.space.taught import taught_way, teacher_of

TEACHER_SPACE = {"embed": {"network": "large", "dim": 8}, "normalize": {"l2": True}}
TAUGHT = TeacherSpace(
    model="large",
    table="./lake/there",
    column="vector",
    space_digest=space_digest(TEACHER_SPACE),
    recall=0.5,
    queries=9,
)


def model(name: str, family: str = "timm", dim: int = 8, config: dict[str, object] | None = None) -> ModelDescription:
    return ModelDescription(
        spec=ModelSpec(name=name, family=family, architecture=name),
        dim=dim,
        preprocess=Preprocess.square_pixels(8, "squash"),
        network=name,
        weights_sha256="0" * 64,
        architecture_config=config,
        text=False,
        num_parameters=1,
    )


def column(name: str, space: dict[str, object], of: ModelDescription) -> pa.Field:
    return with_space(pa.field(name, pa.list_(pa.float16(), 8)), space, of)


STUDENT = column("vector_small", {"embed": {"network": "small", "dim": 8}}, model("small"))
LARGE = column("vector", TEACHER_SPACE, model("large"))
OTHER = column("vector_other", {"embed": {"network": "other", "dim": 8}}, model("other"))


def card(teacher: TeacherSpace | None) -> dict[str, object]:
    made: dict[str, object] = {
        "name": "small",
        "weights_sha256": "0" * 64,
        "weights_bytes": 1,
        "base": {"name": "timm:x", "family": "timm", "weights_sha256": "1" * 64},
        "network": {"family": "timm", "architecture": "x", "network": "x"},
        "preprocess": Preprocess.square_pixels(8, "squash").model_dump(mode="json"),
        "dim": 8,
        "teacher": None if teacher is None else teacher.model_dump(mode="json"),
    }
    return json.loads(json.dumps(made))  # type: ignore[no-any-return]


def test_a_card_says_whose_queries_may_come() -> None:
    assert teacher_of(model("./lake/models/small", "saved", config=card(TAUGHT))) == TAUGHT
    assert teacher_of(model("./lake/models/small", "saved", config=card(None))) is None
    assert teacher_of(model("timm:x", "timm", config=card(TAUGHT))) is None


def test_a_teacher_is_known_by_its_space_whatever_its_column_is_called_by_now() -> None:
    renamed = LARGE.with_name("vector_before")
    way = taught_way("t", STUDENT, TAUGHT, [pa.schema([STUDENT, OTHER]), pa.schema([OTHER, renamed])])
    assert (way.model.spec.name, way.space) == ("large", TEACHER_SPACE)
    vectors = np.array([[3, 4, 0, 0, 0, 0, 0, 0]], np.float32)
    assert np.allclose(way.bridged(vectors), vectors / 5)


@pytest.mark.parametrize(
    "there",
    [
        [],
        [pa.schema([STUDENT, OTHER])],
        # Its place has another model's vectors by now.
        [pa.schema([OTHER.with_name("vector")])],
        [pa.schema([column("vector", TEACHER_SPACE, model("large", dim=4))])],
    ],
)
def test_no_other_column_stands_for_it(there: list[pa.Schema]) -> None:
    with pytest.raises(BridgeError, match=r"vector_small was taught by large.*search without --by-teacher"):
        taught_way("t", STUDENT, TAUGHT, there)
