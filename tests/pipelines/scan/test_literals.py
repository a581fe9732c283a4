"""What a condition is told whose value is none of the column's type, and that what it is told to write works."""

import re
from datetime import date, datetime, time, timedelta
from decimal import Decimal

import lance
import pyarrow as pa
import pytest

from pipelines.scan.where import FilterError, row_filter

NOON = datetime(2026, 6, 1, 12)
TIMES = [datetime(2026, 1, 1), NOON, datetime(2027, 1, 1)]
PRICES = [Decimal("1.50"), Decimal("12.25"), Decimal("100.00")]
ROWS = pa.table(
    {
        "price": pa.array(PRICES, pa.decimal128(10, 2)),
        "wide": pa.array(PRICES, pa.decimal256(40, 2)),
        "day": pa.array([each.date() for each in TIMES]),
        "at": pa.array(TIMES, pa.timestamp("us")),
        "there": pa.array(TIMES, pa.timestamp("s", tz="Europe/Berlin")),
        "hour": pa.array([time(1), time(12), time(23)]),
        "took": pa.array([timedelta(seconds=each) for each in (1, 2, 3)], pa.duration("s")),
        "small": pa.array([1, 12, 100], pa.uint8()),
        "raw": [b"a", b"b", b"c"],
        "label": ["a", "b", "c"],
        "share": [0.0, 0.5, 1.0],
    }
)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> lance.LanceDataset:
    return lance.write_dataset(ROWS, tmp_path_factory.mktemp("typed") / "t.lance")


@pytest.mark.parametrize(
    ("where", "says", "right"),
    [
        ("price = 12.25", "write CAST(12.25 AS DECIMAL(10, 2))", "price = CAST(12.25 AS DECIMAL(10, 2))"),
        ("price > 'dear'", "write CAST(12.5 AS DECIMAL(10, 2))", "price IN (CAST(12.25 AS DECIMAL(10, 2)))"),
        ("wide = 12.25", "write CAST(NAME AS DOUBLE), NAME being", "CAST(wide AS DOUBLE) = 12.25"),
        ("day = '2026-06-01'", "write date '2026-06-01'", "day = date '2026-06-01'"),
        ("day > 20600", "write date '2026-11-30'", "day BETWEEN date '2026-06-01' AND date '2026-12-31'"),
        ("at = '2026-06-01 12:00'", "write timestamp '2026-11-30 12:00:00';", "at = timestamp '2026-06-01 12:00:00'"),
        ("at = '2026-06-01T12:00:00'", "write timestamp '2026-06-01T12:00:00';", "price BETWEEN 2 AND 20"),
        ("at > '2026-06-01'", "write timestamp '2026-06-01';", "date_part('month', at) = 6"),
        (
            "there > '1 June'",
            "write timestamp '2026-11-30 12:00:00', in the column's own zone and without an offset",
            "there = timestamp '2026-06-01 14:00:00'",
        ),
        ("hour > '06:00:00'", "CAST(NAME AS STRING)", "CAST(hour AS STRING) = '12:00:00'"),
        ("took > 1", "CAST(NAME AS BIGINT)", "CAST(took AS BIGINT) = 2"),
        ("small < 256", "256 is not compared with a column of UInt8", "CAST(small AS DOUBLE) = 12.0"),
        ("raw = 'b'", "write the bytes in hex", "raw = x'62'"),
        ("label = true", "write 'true'", "label = 'b'"),
        ("share = 'b'", "write a value of that type", "share > 0.4 AND share < 0.6"),
    ],
)
def test_a_value_of_another_type_is_told_what_to_write_and_that_works(
    dataset: lance.LanceDataset, where: str, says: str, right: str
) -> None:
    with pytest.raises(FilterError, match=re.escape(says)) as refused:
        row_filter(dataset, where)
    assert "literal" not in str(refused.value)
    found = dataset.to_table(columns=["day"], filter=row_filter(dataset, right))
    assert found["day"].to_pylist() == [date(2026, 6, 1)]
