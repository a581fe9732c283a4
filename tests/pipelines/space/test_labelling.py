"""Columns of groups and classes: how they are made is read back, and which operators that takes."""

import pyarrow as pa
import pytest

from operators.assign import AssignConfig
from operators.classify import ClassifyVectorsConfig
from operators.storage.artifacts import ArtifactRef
from pipelines.space.field import SpaceError
from pipelines.space.labelling import (
    LABELLING_KEY,
    Labelling,
    describe_labelling,
    labelling_chain,
    labelling_field,
    made_of,
    read_labelling,
    read_labellings,
    same_labelling,
)

REF = ArtifactRef(uri="/a/kmeans-1.safetensors", sha256="0" * 64)
CLUSTER = Labelling(method="cluster", part="cluster", base="vector", space_digest="d", groups=8, artifact=REF)
PROBE = Labelling(
    method="probe",
    part="label",
    base="vector",
    space_digest="d",
    groups=3,
    artifact=REF,
    threshold=0.5,
    learned_from="y",
)
KNN = Labelling(
    artifact=REF, method="knn", part="label", base="vector", space_digest="d", groups=3, learned_from="y", neighbours=5
)


def as_part(labelling: Labelling, part: str) -> Labelling:
    return labelling.model_copy(update={"part": part})


def test_what_is_recorded_is_read_back() -> None:
    schema = pa.schema([pa.field("id", pa.string()), labelling_field("a", CLUSTER), labelling_field("b", PROBE)])
    assert read_labellings(schema) == {"a": CLUSTER, "b": PROBE}
    assert made_of(schema) == {"a": "vector", "b": "vector"}
    assert [field.type for field in schema][1:] == [pa.int32(), pa.string()]
    with pytest.raises(SpaceError, match=r"'c'.*another release"):
        read_labelling(pa.field("c", pa.int32(), metadata={LABELLING_KEY: b'{"method": "magic"}'}))


def test_columns_of_one_artifact_are_made_by_one_operator() -> None:
    columns = {
        "p": PROBE,
        "p_score": as_part(PROBE, "score"),
        "cluster": CLUSTER,
        "again": CLUSTER,
        "cosine": as_part(CLUSTER, "cosine"),
        "n": KNN,
    }
    assert labelling_chain(columns) == (
        AssignConfig(artifact=REF, source="vector", cluster=("cluster", "again"), cosine=("cosine",)),
        ClassifyVectorsConfig(
            artifact=REF, threshold=0.5, source="vector", label=("p",), score=("p_score",), margin=()
        ),
    )


def test_the_same_is_told_from_another_wherever_the_file_and_however_the_base_is_called() -> None:
    moved = CLUSTER.model_copy(update={"base": "vector_before", "artifact": REF.model_copy(update={"uri": "/b"})})
    other = CLUSTER.model_copy(update={"artifact": REF.model_copy(update={"sha256": "1" * 64})})
    one, plain = labelling_field("a", CLUSTER), pa.field("a", pa.int32())
    assert same_labelling(one, labelling_field("a", moved))
    assert not same_labelling(one, labelling_field("a", other))
    assert not same_labelling(one, plain)
    assert same_labelling(plain, plain)


def test_each_is_told_in_words() -> None:
    assert describe_labelling(CLUSTER) == "by 8 clusters of vector (kmeans-1.safetensors)"
    assert "none under 0.5" in describe_labelling(PROBE)
    assert "rows that came later have none" in describe_labelling(KNN)
