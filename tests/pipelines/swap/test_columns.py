"""Which columns a flip and a rollback rename, and that a change of columns is one commit under the term."""

from pathlib import Path

import lance
import pyarrow as pa
import pytest

from made.tables import DIM, VECTOR, batch, names_in, open_committer, sink_of
from operators.base.arrays import vector_field
from operators.storage.artifacts import ArtifactRef
from pipelines.space.field import read_reduction, read_settings, read_space, with_space
from pipelines.space.labelling import Labelling, labelling_field, read_labellings
from pipelines.space.record import space_digest
from pipelines.space.reduction import Reduction
from pipelines.swap.columns import (
    add_column,
    check_names_free,
    derived_of,
    flip_names,
    is_flipped,
    lacking_beside,
    record_settings,
    rename_columns,
    rollback_names,
    take_over,
)
from pipelines.table.errors import FencedError, RefusedError
from pipelines.table.fenced_table import FencedTable
from pipelines.table.table import Table


def spaced(name: str, network: str, base: str | None = None) -> pa.Field:
    """A vector column of a network, or one derived of it."""
    _, model = read_space(VECTOR, "t")
    record = {"embed": {"network": network}, **({"quantize": {"precision": "float16"}} if base else {})}
    reduction = Reduction(base=base, base_dim=DIM) if base else None
    return with_space(vector_field(DIM, pa.float16(), name), record, model, reduction=reduction)


SCHEMA = pa.schema(
    [
        spaced("vector", "old"),
        spaced("vector_8", "old", "vector"),
        spaced("vector_next", "new"),
        spaced("vector_8_next", "new", "vector_next"),
        spaced("bits", "new", "vector_next"),
    ]
)


@pytest.fixture
def table(tmp_path: Path) -> Table:
    """Two fragments with a column `vector`."""
    names = names_in(tmp_path)
    committer = open_committer(names)
    for shard in range(2):
        committer.commit([sink_of(names).write(batch(shard, range(5)))])
    return Table(names=names)


def with_columns(table: Table) -> FencedTable:
    vectors = take_over(table, "swap-1")
    for field in SCHEMA:
        if field.name != "vector":
            add_column(vectors, field)
    return vectors


def test_a_flip_renames_derived_columns_along_and_a_rollback_takes_that_back() -> None:
    names = flip_names(SCHEMA, "vector")
    assert names == {
        "vector": "vector_before",
        "vector_8": "vector_8_before",
        "vector_next": "vector",
        "vector_8_next": "vector_8",
    }
    bases = {"vector_8_before": "vector_before", "vector_8": "vector", "bits": "vector"}
    derived = [spaced(name, "x", base) for name, base in bases.items()]
    flipped = pa.schema([spaced("vector_before", "old"), spaced("vector", "new"), *derived])
    assert rollback_names(flipped, "vector") == {
        "vector_before": "vector",
        "vector": "vector_next",
        "vector_8_before": "vector_8",
        "vector_8": "vector_8_next",
        "bits": "bits_next",
    }


def labelled(name: str, base: str, network: str) -> pa.Field:
    """A column of clusters of a network's vectors."""
    digest = space_digest({"embed": {"network": network}})
    ref = ArtifactRef(uri="/a/kmeans-1.safetensors", sha256="0" * 64)
    made = Labelling(method="cluster", part="cluster", base=base, space_digest=digest, groups=3, artifact=ref)
    return labelling_field(name, made)


def test_clusters_go_along_with_the_vectors_that_they_are_made_of(table: Table) -> None:
    clusters = [labelled("cluster", "vector", "old"), labelled("cluster_next", "vector_next", "new")]
    schema = pa.schema([*SCHEMA, *clusters])
    names = flip_names(schema, "vector")
    assert (names["cluster"], names["cluster_next"]) == ("cluster_before", "cluster")
    assert derived_of(schema, "vector") == ["vector_8", "cluster"]
    vectors = with_columns(table)
    for field in clusters:
        vectors.change_columns(lambda dataset, field=field: dataset.add_columns(pa.schema([field])), lambda _: False)
    lacking = lacking_beside(vectors.dataset, "vector")
    assert not any("cluster" in each for each in lacking)
    rename_columns(vectors, flip_names(vectors.dataset.schema, "vector"), "vector", flipped=True)
    made = read_labellings(lance.dataset(table.uri).schema)
    # The made table's own column has another space than the clusters of the old network say, and is left.
    assert made["cluster"].base == "vector"
    assert made["cluster_before"].base == "vector"


def test_a_name_that_is_taken_is_refused() -> None:
    check_names_free(SCHEMA, flip_names(SCHEMA, "vector"))
    taken = pa.schema([*SCHEMA, pa.field("vector_8_before", pa.int32())])
    with pytest.raises(RefusedError, match="renamed to vector_8_before, which is there"):
        check_names_free(taken, flip_names(taken, "vector"))


def test_renaming_is_one_commit_and_done_twice_the_same(table: Table) -> None:
    vectors = with_columns(table)
    # Of the made table's own column the space is another than the derived ones say.
    names, before = flip_names(vectors.dataset.schema, "vector"), vectors.dataset.version
    for _ in range(2):
        rename_columns(vectors, names, "vector", flipped=True)
        schema = lance.dataset(table.uri).schema
        assert is_flipped(schema, "vector")
        assert read_space(schema.field("vector"), "t")[0]["embed"] == {"network": "new"}
        derived = {name: read_reduction(schema.field(name)) for name in ("vector_8", "bits")}
        assert {name: each.base for name, each in derived.items() if each} == {"vector_8": "vector", "bits": "vector"}
    # One for the names, one for what derived columns say of their base.
    assert vectors.dataset.version == before + 2


def test_an_earlier_holder_changes_nothing_any_more(table: Table) -> None:
    vectors = with_columns(table)
    take_over(table, "another")
    version = lance.dataset(table.uri).version
    with pytest.raises(FencedError, match="run another took the table over"):
        rename_columns(vectors, flip_names(SCHEMA, "vector"), "vector", flipped=True)
    assert lance.dataset(table.uri).version == version


def test_a_column_is_added_once_and_not_over_another(table: Table) -> None:
    vectors = with_columns(table)
    version = vectors.dataset.version
    add_column(vectors, SCHEMA.field("vector_next"))
    assert vectors.dataset.version == version
    with pytest.raises(RefusedError, match="of another meaning"):
        add_column(vectors, spaced("vector_next", "other"))


def test_settings_that_are_recorded_stay_as_they_are(table: Table) -> None:
    vectors = with_columns(table)
    record_settings(vectors, {"vector": '{"name": "null"}', "vector_next": "{}"})
    record_settings(vectors, {"vector": '{"name": "other"}'})
    assert read_settings(lance.dataset(table.uri).schema) == {"vector": '{"name": "null"}', "vector_next": "{}"}
