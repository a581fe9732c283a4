"""What counts as an id, and its text. Expected texts are Python's own: `isoformat`, `bytes.hex`, `str(UUID)`."""

import datetime as dt
import json
import uuid
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from made.manifests import manifest_of, rows_of
from operators.storage.stores import NO_OPTIONS
from pipelines.manifests.columns.ids import IdError, former_texts, id_kind, id_texts
from pipelines.manifests.manifest import Manifest, SourceConfig, SourceError

UUID = uuid.UUID("00010203-0405-0607-0809-0a0b0c0d0e0f")
NOON = dt.datetime(2026, 11, 28, 12, 0, 5, 120_000)


@pytest.fixture
def opened(tmp_path: Path) -> Callable[..., Manifest]:
    def open_it(path: Path, **options: Any) -> Manifest:
        config = SourceConfig(uri=str(path), id_column="key", **options)
        return manifest_of(config, NO_OPTIONS, str(tmp_path / "work"))

    return open_it


def parquet(path: Path, keys: pa.Array) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table({"uri": [f"s3://b/{at}" for at in range(len(keys))], "key": keys}), path)
    return path


@pytest.mark.parametrize(
    ("keys", "texts"),
    [
        (pa.array(["00123", "", "é"]), ["00123", "", "é"]),
        (pa.array(["a", "b", "a"]).dictionary_encode(), ["a", "b", "a"]),
        (pa.array([b"\xff\x01", b"\xff\x02", b"ab"]), ["ff01", "ff02", "6162"]),
        (pa.array([b"\xff\x01", b"\xff\x02"], pa.binary(2)), ["ff01", "ff02"]),
        (pa.array([UUID.bytes], pa.uuid()), [str(UUID)]),
        (pa.array([2**64 - 1], pa.uint64()), ["18446744073709551615"]),
        (pa.array([-7], pa.int8()), ["-7"]),
        (pa.array([Decimal(10) ** 30], pa.decimal128(38, 0)), ["1" + "0" * 30]),
        (pa.array([1e12, 123456789.0, -0.0, 2.0**53 - 1]), ["1000000000000", "123456789", "0", "9007199254740991"]),
        (pa.array([2.0**24 - 1], pa.float32()), ["16777215"]),
        (pa.array([dt.date(2026, 2, 3)]), ["2026-02-03"]),
        (pa.array([NOON.time()], pa.time64("us")), [NOON.time().isoformat().rstrip("0")]),
        (pa.array([NOON], pa.timestamp("us")), [NOON.isoformat().rstrip("0")]),
        (pa.array([NOON], pa.timestamp("ns")), [NOON.isoformat().rstrip("0")]),
        (pa.array([NOON.replace(microsecond=0)], pa.timestamp("ms")), ["2026-11-28T12:00:05"]),
        (pa.array([NOON], pa.timestamp("us", "UTC")), ["2026-11-28T12:00:05.12Z"]),
        # The array holds an instant, and Berlin is how to show it.
        (pa.array([NOON], pa.timestamp("us", "Europe/Berlin")), ["2026-11-28T12:00:05.12Z"]),
    ],
    ids=lambda value: str(value.type) if isinstance(value, pa.Array) else "",
)
def test_each_type_of_id_has_one_text_for_a_value(
    tmp_path: Path, opened: Callable[..., Manifest], keys: pa.Array, texts: list[str]
) -> None:
    rows = rows_of(opened(parquet(tmp_path / "m.parquet", keys)))
    assert [row["id"] for row in rows] == texts
    assert [row["error"] for row in rows] == [None] * len(texts)


@pytest.mark.parametrize(
    ("keys", "says"),
    [
        (pa.array([True]), "id_column 'key' is bool; ids are text, integers, dates"),
        (pa.array([[1]]), "id_column 'key' is list"),
        (pa.array([{"a": 1}]), "id_column 'key' is struct"),
        (pa.array([dt.timedelta(1)]), "id_column 'key' is duration"),
        (pa.array([Decimal("1.50")]), r"id_column 'key' is decimal128\(3, 2\), with 2 digits behind the point"),
        (pa.array([1.0, float("nan")]), "id_column 'key' holds nan, which is no whole number"),
        (pa.array([1.0, 1.5]), "id_column 'key' holds 1.5, which is no whole number below 9,007,199,254,740,992"),
        (pa.array([2.0**53]), "id_column 'key' holds 9007199254740992.0, which is no whole number below"),
        # 16777217 is no float32: two ids would be one.
        (pa.array([2.0**24], pa.float32()), "holds 16777216.0, which is no whole number below 16,777,216 as float"),
    ],
    ids=lambda value: str(value.type) if isinstance(value, pa.Array) else "",
)
def test_what_is_no_id_is_refused_before_anything_starts(
    tmp_path: Path, opened: Callable[..., Manifest], keys: pa.Array, says: str
) -> None:
    with pytest.raises(SourceError, match=rf"m\.parquet: .*{says}"):
        opened(parquet(tmp_path / "m.parquet", keys))


def test_a_null_among_integers_makes_floats_of_them_and_the_same_ids(
    tmp_path: Path, opened: Callable[..., Manifest]
) -> None:
    """As pandas does. One part has the integers, one the floats, one nothing but nulls."""
    parquet(tmp_path / "p/a.parquet", pa.array([1000000000000]))
    parquet(tmp_path / "p/b.parquet", pa.array([1e12, None]))
    parquet(tmp_path / "p/c.parquet", pa.nulls(1))
    parquet(tmp_path / "p/d.parquet", pa.array([None], pa.bool_()))
    ids = [row["id"] for row in rows_of(opened(tmp_path / "p"))]
    assert ids[:2] == ["1000000000000", "1000000000000"]
    assert all(len(each) == 32 for each in ids[2:]), "made from the URI"


def test_texts_and_numbers_are_not_ids_of_one_manifest(tmp_path: Path, opened: Callable[..., Manifest]) -> None:
    parquet(tmp_path / "p/a.parquet", pa.array(["7"]))
    parquet(tmp_path / "p/b.parquet", pa.array([7]))
    with pytest.raises(SourceError, match=r"column 'key' is string in .*a\.parquet and int64 in .*b\.parquet"):
        opened(tmp_path / "p")


def test_text_that_is_not_utf8_is_no_id_and_loses_that_row_alone(
    tmp_path: Path, opened: Callable[..., Manifest]
) -> None:
    keys = pa.array([b"a", b"\xff", b"\xfe"]).cast(pa.string(), safe=False)
    rows = rows_of(opened(parquet(tmp_path / "m.parquet", keys)))
    assert [(row["id"], row["uri"]) for row in rows] == [("a", "s3://b/0"), (None, None), (None, None)]
    assert [row["error_class"] for row in rows] == [None, "bad_uri", "bad_uri"]
    assert "row 1 of row groups 0 to 0: id_column 'key' holds text that is not valid UTF-8" in rows[1]["error"]


def test_csv_ids_stay_as_they_are_written(tmp_path: Path, opened: Callable[..., Manifest]) -> None:
    keys = ["00123", "1e3", "true", "NaN", " 7"]
    (tmp_path / "m.csv").write_text("uri,key\n" + "".join(f"s3://b/{at},{key}\n" for at, key in enumerate(keys)))
    assert [row["id"] for row in rows_of(opened(tmp_path / "m.csv"))] == keys


def json_lines(path: Path, keys: list[str]) -> Path:
    path.write_text("".join(f'{{"uri": "s3://b/{at}", "key": {key}}}\n' for at, key in enumerate(keys)))
    return path


def test_json_ids_are_strings_and_whole_numbers(tmp_path: Path, opened: Callable[..., Manifest]) -> None:
    keys = ['"00123"', "7", "7.0", "1e12", str(2**70), "null"]
    ids = [row["id"] for row in rows_of(opened(json_lines(tmp_path / "m.jsonl", keys)))]
    assert ids[:-1] == ["00123", "7", "7", "1000000000000", str(2**70)]
    assert len(ids[-1]) == 32


@pytest.mark.parametrize("key", ["true", "1.5", "NaN", "1e300", "[1]", '{"a": 1}', r'"\ud800"'])
def test_json_that_is_no_id_is_refused_where_it_is_seen_at_once_and_a_failed_row_further_on(
    tmp_path: Path, opened: Callable[..., Manifest], key: str
) -> None:
    with pytest.raises(SourceError, match=r"m\.jsonl:2: id_column 'key' holds "):
        opened(json_lines(tmp_path / "m.jsonl", ["1", key]))
    rows = rows_of(opened(json_lines(tmp_path / "later.jsonl", [*["1"] * 1000, key, "2"])))
    assert [(row["id"], row["error_class"]) for row in rows[-2:]] == [(None, "bad_uri"), ("2", None)]
    assert "later.jsonl:1001: id_column 'key' holds " in rows[1000]["error"]


def test_no_two_values_of_a_type_have_one_text() -> None:
    """All bytes of one and two bytes; all half floats that are ids."""
    values = [bytes([a]) for a in range(256)] + [bytes([a, b]) for a in range(256) for b in range(256)]
    texts, broken = id_texts(pa.array(values))
    assert (len(set(texts.to_pylist())), broken) == (len(values), [])
    halves = np.arange(2**16, dtype=np.uint16).view(np.float16)
    small = halves[np.isfinite(halves) & (abs(halves) < 2**11)]
    whole = np.unique(small[np.floor(small) == small])
    texts, _ = id_texts(pa.array(whole))
    assert sorted(texts.to_pylist(), key=int) == [str(number) for number in range(-(2**11) + 1, 2**11)]


def test_types_that_are_no_ids_say_which_are() -> None:
    for kind in (pa.bool_(), pa.json_(), pa.month_day_nano_interval(), pa.list_(pa.string())):
        with pytest.raises(IdError, match="ids are text, integers"):
            id_kind(kind)
    assert json.dumps(id_kind(pa.null())) == "null"


@pytest.mark.parametrize(
    ("keys", "former"),
    [
        (pa.array([b"ab", b"\xff"]), ["ab", "\ufffd"]),
        (pa.array([1e12, 7.0]), ["1e+12"]),
        (pa.array([NOON], pa.timestamp("us", "UTC")), ["2026-11-28 12:00:05.120000Z"]),
        (pa.array([7]), []),
        (pa.array(["1e+12"]), []),
    ],
    ids=lambda value: str(value.type) if isinstance(value, pa.Array) else "",
)
def test_ids_that_earlier_versions_wrote_otherwise_are_known(keys: pa.Array, former: list[str]) -> None:
    """Expected is what they did: Arrow's cast to text, and bytes that are not UTF-8 replaced. An id that is made of a
    URI lies among them."""
    texts, _ = id_texts(keys)
    assert former_texts(texts, keys.type).to_pylist() == former
    among = pa.concat_arrays([texts, pa.array(["d" * 32])])
    assert set(former_texts(among, keys.type).to_pylist()) >= set(former)
