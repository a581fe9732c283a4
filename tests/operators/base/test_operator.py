"""The operator contract: N rows in, N rows out, failed rows set aside and put back where they stood."""

from typing import ClassVar

import pyarrow as pa
import pytest

from operators.base.columns import ERROR_FIELDS
from operators.base.errors import ErrorClass, Failure
from operators.base.operator import Operator, OperatorConfig
from operators.base.rows import fail_rows, good_rows


class DoubleConfig(OperatorConfig):
    name: ClassVar[str] = "double"
    reads: ClassVar[frozenset[str]] = frozenset({"number"})

    lie: bool = False
    lose: bool = False

    def output_schema(self, schema: pa.Schema) -> pa.Schema:
        return schema.remove(schema.get_field_index("number")).append(pa.field("doubled", pa.int64()))


class Double(Operator[DoubleConfig]):
    """Fails odd numbers; refuses to be called with rows that failed earlier."""

    def transform(self, batch: pa.Table) -> pa.Table:
        assert batch["number"].null_count == 0
        numbers = batch["number"].to_pylist()
        kind = pa.int32() if self.config.lie else pa.int64()
        out = batch.drop_columns(["number"]).append_column("doubled", pa.array([2 * n for n in numbers], kind))
        odd = {i: Failure(error_class=ErrorClass.CORRUPT, message="odd") for i, n in enumerate(numbers) if n % 2}
        out = fail_rows(out, odd, "double")
        return out.slice(1) if self.config.lose else out


def batch(numbers: list[int | None]) -> pa.Table:
    """Rows whose number is null have failed already."""
    table = pa.table({"key": [f"k{i}" for i in range(len(numbers))], "number": pa.array(numbers, pa.int64())})
    for field in ERROR_FIELDS:
        table = table.append_column(field, pa.nulls(len(numbers), field.type))
    gone = Failure(error_class=ErrorClass.NOT_FOUND, message="gone", http_status=404, attempts=3)
    return fail_rows(table, {i: gone for i, n in enumerate(numbers) if n is None}, "fetch")


def test_failed_rows_keep_their_place_and_their_error() -> None:
    out = Double(DoubleConfig())(batch([2, None, 4, 5, None]))
    assert out["key"].to_pylist() == ["k0", "k1", "k2", "k3", "k4"]
    assert out["doubled"].to_pylist() == [4, None, 8, 10, None]
    assert out["error_class"].to_pylist() == [None, "not_found", None, "corrupt", "not_found"]
    assert out["error_stage"].to_pylist() == [None, "fetch", None, "double", "fetch"]
    assert out["error_http_status"].to_pylist()[1] == 404
    assert out["error_attempts"].to_pylist()[1] == 3


@pytest.mark.parametrize("numbers", [[], [None, None], [2, 4]])
def test_batches_of_only_good_only_failed_and_no_rows(numbers: list[int | None]) -> None:
    config = DoubleConfig()
    given = batch(numbers)
    out = Double(config)(given)
    assert out.num_rows == len(numbers)
    assert out.schema.equals(config.output_schema(given.schema))
    assert good_rows(out).to_pylist() == [n is not None for n in numbers]


def test_a_wrong_type_is_refused() -> None:
    with pytest.raises(RuntimeError, match="operator double: gave"):
        Double(DoubleConfig(lie=True))(batch([2, None]))


def test_a_lost_row_is_refused() -> None:
    with pytest.raises(RuntimeError, match="operator double: 2 rows in, 1 rows out"):
        Double(DoubleConfig(lose=True))(batch([2, 4]))


def test_unknown_configuration_is_refused() -> None:
    with pytest.raises(ValueError, match="lye"):
        DoubleConfig(lye=True)  # type: ignore[call-arg]
