"""Columns of groups and classes: how they are made is read back, and which operators that takes."""

import pickle
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from operators.assign import AssignConfig
from operators.base.arrays import vectors_from_numpy
from operators.classify import ClassifyVectorsConfig
from operators.storage.artifacts import Artifact, ArtifactRef, write_artifact
from pipelines.space.field import SpaceError
from pipelines.space.labelling import (
    LABELLING_KEY,
    Labelling,
    LabelRows,
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


def test_the_work_travels_to_workers_after_it_was_done_here(tmp_path: Path) -> None:
    """As derived rows do, a row gets the same alone and among others."""
    centres = Artifact(kind="kmeans", tensors={"centres": np.eye(4, dtype=np.float32)[:3]}, space={}, rows=9)
    made = CLUSTER.model_copy(update={"artifact": write_artifact(centres, str(tmp_path))})
    columns = {"cluster": made, "cosine": as_part(made, "cosine")}
    [operator] = labelling_chain(columns)
    work = LabelRows(operator, "vector", [*columns])
    vectors = np.random.default_rng(0).normal(size=(50, 4)).astype(np.float16)
    rows = pa.table({"vector": vectors_from_numpy(vectors)})
    clusters, cosines = work(rows)
    assert clusters.to_pylist() == vectors[:, :3].argmax(1).tolist()
    there = pickle.loads(pickle.dumps(work))
    parts = [there(rows.slice(start, 1)) for start in range(50)]
    assert pa.concat_arrays([each for each, _ in parts]).equals(clusters)
    assert pa.concat_arrays([each for _, each in parts]).equals(cosines)
