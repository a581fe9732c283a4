"""Which rows are in which file: all of them once, in order, whatever the fragments; and names that sort like rows."""

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.export.plan import ExportError, check_npy, file_names, num_parts, plan_parts


@given(st.lists(st.integers(0, 50), max_size=20), st.integers(1, 70))
def test_every_row_is_in_one_file_and_all_files_but_the_last_are_full(counts: list[int], per_file: int) -> None:
    numbered = [(10 * index, rows) for index, rows in enumerate(counts)]
    parts = list(plan_parts(numbered, per_file))
    rows = [(each.fragment, each.offset + row) for part in parts for each in part.slices for row in range(each.rows)]
    assert rows == [(fragment, row) for fragment, count in numbered for row in range(count)]
    assert [part.number for part in parts] == list(range(num_parts(sum(counts), per_file)))
    assert all(part.rows == per_file for part in parts[:-1])


def test_the_names_of_an_npy_export_are_clip_retrievals() -> None:
    assert file_names("npy", 3, 12) == ("img_emb/img_emb_0003.npy", "metadata/metadata_0003.parquet")
    assert file_names("parquet", 3, 12) == ("part-00003.parquet",)


@pytest.mark.parametrize("output_format", ["npy", "parquet"])
@pytest.mark.parametrize("num_files", [1, 10_000, 10_001, 123_456])
def test_names_in_the_order_of_their_text_are_in_the_order_of_their_rows(output_format, num_files: int) -> None:  # type: ignore[no-untyped-def]
    names = [file_names(output_format, number, num_files)[-1] for number in range(0, num_files, 1111)]
    assert sorted(names) == names


SCHEMA = pa.schema(
    [
        ("plain", pa.list_(pa.float16(), 4)),
        ("codes", pa.list_(pa.uint8(), 4)),
        ("several", pa.list_(pa.list_(pa.float16(), 4))),
        ("wide", pa.list_(pa.float64(), 4)),
    ]
)


@pytest.mark.parametrize(
    ("vectors", "says"),
    [
        (["plain", "codes"], r"2 are asked for \(plain, codes\); name one"),
        (["several"], r"several vectors a row, and an npy file is one matrix"),
        (["wide"], "holds double; written are halffloat, float, int8, uint8"),
    ],
)
def test_what_an_npy_file_cannot_hold_is_refused_with_the_reason(vectors: list[str], says: str) -> None:
    with pytest.raises(ExportError, match=says):
        check_npy(SCHEMA, vectors)
    for name in ("plain", "codes"):
        check_npy(SCHEMA, [name])
