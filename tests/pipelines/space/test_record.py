"""The space: what is in it, what is not, how two are told apart."""

import json

import numpy as np
import pyarrow as pa
import pytest

from operators.base.arrays import vector_field
from operators.decode import DecodeConfig
from operators.embed import EmbedPixelsConfig
from operators.models.canaries import record_canaries
from operators.models.load import describe
from operators.models.spec import parse_model_name
from operators.normalize import NormalizeConfig
from pipelines.space.check import check_reduction, check_same_spaces, check_space
from pipelines.space.field import SpaceError, describe_vectors, read_canaries, read_space, recorded_vectors, with_space
from pipelines.space.record import base_record, differences, reduced_record, space_digest, space_record
from pipelines.space.reduction import Reduction, reduction_chain

MODEL = describe(parse_model_name("null"))


def record(decode: dict = {}, embed: dict = {}, normalize: dict = {}) -> dict:  # noqa: B006, type: ignore[type-arg]
    operators = (
        DecodeConfig(targets={"pixels": MODEL.preprocess}, **decode),
        EmbedPixelsConfig(model=MODEL, **embed),
        NormalizeConfig(**normalize),
    )
    return space_record(operators, "vector")


def test_batches_and_threads_are_no_part_of_it() -> None:
    assert record() == record(embed={"batch_size": 7, "num_threads": 3, "device": "cuda"}, decode={"isolate": False})


@pytest.mark.parametrize(
    ("change", "path"),
    [
        ({"decode": {"orient": False}}, "decode.orientation"),
        ({"decode": {"colour": "ignore"}}, "decode.colour"),
        ({"decode": {"allow_truncated": True}}, "decode.allow_truncated"),
        ({"decode": {"shrink_on_load": True}}, "decode.shrink_on_load"),
        ({"embed": {"precision": "bfloat16"}}, "embed.precision"),
        ({"normalize": {"l2": False}}, "normalize.l2"),
        ({"normalize": {"dtype": "float32"}}, "normalize.dtype"),
    ],
)
def test_each_change_of_meaning_is_caught_and_named(change: dict, path: str) -> None:  # type: ignore[type-arg]
    here = record(**change)
    assert space_digest(here) != space_digest(record())
    assert [line.split(":")[0] for line in differences(record(), here)] == [path]
    with pytest.raises(SpaceError, match=path):
        check_space(record(), here, "./lake/t")


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"decode": {"allow_truncated": True}}, "into a table of their own"),
        ({"decode": {"orient": False}}, "Use the table's own model and settings"),
    ],
)
def test_a_refusal_says_what_can_be_done(change: dict, says: str) -> None:  # type: ignore[type-arg]
    with pytest.raises(SpaceError, match=says):
        check_space(record(), record(**change), "./lake/t")


def test_a_table_of_an_earlier_decoder_is_for_its_own_release() -> None:
    earlier = {**record(), "decode": {**record()["decode"], "decoder": 1}}
    with pytest.raises(SpaceError, match="the table's own release, or embed into another table"):
        check_space(earlier, record(), "./lake/t")


def test_a_change_of_the_models_own_preprocessing_is_caught() -> None:
    bigger = MODEL.model_copy(update={"preprocess": MODEL.preprocess.model_copy(update={"resize_height": 256})})
    here = {**record(), "decode": DecodeConfig(targets={"pixels": bigger.preprocess}).space("pixels")}
    lines = differences(record(), here)
    assert lines == ["decode.preprocess.resize_height: the table has 224, this run has 256"]


def test_it_travels_in_the_vector_fields_metadata() -> None:
    field = with_space(vector_field(192, pa.float16()), record(), MODEL)
    there, model = read_space(field, "t")
    assert there == record()
    assert model == MODEL
    assert field.metadata[b"pixlake.space_digest"].decode() == space_digest(record())


def test_a_column_without_a_space_is_refused() -> None:
    with pytest.raises(SpaceError, match="no recorded space"):
        read_space(vector_field(4, pa.float16()), "t")


@pytest.mark.parametrize(
    ("key", "value"),
    [
        (b"pixlake.model", b'{"spec": {}, "later": 1}'),
        (b"pixlake.model", b"no JSON"),
        (b"pixlake.space", b"no JSON"),
        (b"pixlake.canaries", b'{"vectors": "AAAA", "precision": "float32", "device": "cpu", "versions": {}}'),
    ],
)
def test_what_another_release_recorded_is_said_to_be(key: bytes, value: bytes) -> None:
    field = with_space(vector_field(192, pa.float16()), record(), MODEL)
    field = field.with_metadata({**field.metadata, key: value})
    with pytest.raises(SpaceError, match="another release of Pixlake, or damaged"):
        read_canaries(field) if key == b"pixlake.canaries" else read_space(field, "t")


def test_all_that_is_recorded_of_vectors_travels_as_json() -> None:
    canaries = record_canaries(np.eye(16, 192, dtype=np.float32), name="null", precision="float32", device="cpu")
    for found in (canaries, None):
        field = with_space(vector_field(192, pa.float16()), record(), MODEL, found)
        about = json.loads(json.dumps(describe_vectors(field)))
        again = with_space(vector_field(192, pa.float16()), *recorded_vectors(about, "out"))
        assert again.equals(field, check_metadata=True)
        assert about["type"] == "fixed_size_list<item: halffloat>[192]"


@pytest.mark.parametrize("key", ["space", "space_digest", "model"])
def test_what_was_changed_on_its_way_is_not_believed(key: str) -> None:
    about = describe_vectors(with_space(vector_field(192, pa.float16()), record(), MODEL))
    for changed in ({**about, key: {"x": 1}}, {name: value for name, value in about.items() if name != key}):
        with pytest.raises(SpaceError, match=r"^out: what is recorded of its model was written by another release"):
            recorded_vectors(changed, "out")


def field_of(name: str, reduction: Reduction | None = None) -> pa.Field:
    chain = reduction_chain(reduction, name) if reduction else ()
    made = reduced_record(record(), chain, name)
    return with_space(vector_field(4, pa.float16(), name), made, MODEL, reduction=reduction)


def test_a_column_derived_meanwhile_stops_no_run_and_one_of_another_model_does() -> None:
    ours = pa.schema([field_of("vector")])
    cut = Reduction(base="vector", base_dim=192, truncate_dim=4)
    check_same_spaces(pa.schema([field_of("vector"), field_of("vector_4", cut)]), ours, "t")
    with pytest.raises(SpaceError, match="its vector columns are vector, vector_b; this run would write vector"):
        check_same_spaces(pa.schema([field_of("vector"), field_of("vector_b")]), ours, "t")
    with pytest.raises(SpaceError, match="its vector columns are vector; this run would write vector, vector_4"):
        check_same_spaces(ours, pa.schema([field_of("vector"), field_of("vector_4", cut)]), "t")


def test_the_space_of_a_derived_column_is_its_base_columns_and_its_steps() -> None:
    cut = Reduction(base="vector", base_dim=192, truncate_dim=4)
    there, _ = read_space(field_of("vector_4", cut), "t")
    assert there["truncate"] == {"dim": 4}
    assert base_record(there) == record()
    operators = (DecodeConfig(targets={"pixels": MODEL.preprocess}), EmbedPixelsConfig(model=MODEL), NormalizeConfig())
    run = (*operators, *reduction_chain(cut, "vector_4"))
    assert space_record(run, "vector_4") == there
    assert space_record(run, "vector") == record()
    check_reduction(field_of("vector_4", cut), "t")
    other = with_space(field_of("x"), there | {"truncate": {"dim": 5}}, MODEL, reduction=cut)
    with pytest.raises(SpaceError, match=r"truncate\.dim: the table has 5, this run has 4"):
        check_reduction(other, "t")
