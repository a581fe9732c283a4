"""CSV as other tools write it, and files that are no lines of UTF-8: read right, or said in a sentence.

Of Spark's dialect its documentation says: `escape`, by default a backslash, stands before a quote within a quoted
value, and before itself. pyarrow reads the same of fields in which nothing else is escaped.
"""

import csv
import gzip
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv
import pytest

from made.manifests import manifest_of, rows_of
from operators.storage.stores import NO_OPTIONS
from pipelines.manifests.lines.csv_rows import CsvError, CsvRows
from pipelines.manifests.manifest import Manifest, SourceConfig, SourceError

SPARK = r"""uri,caption
s3://b/0,"a \"red\" bicycle"
s3://b/1,"x, \"y\"
on two lines"
s3://b/2,"ends in \\"
s3://b/3,C:\dir\new
s3://b/4,"C:\\dir, \"new\""
"""
CAPTIONS = ['a "red" bicycle', 'x, "y"\non two lines', "ends in \\", r"C:\dir\new", r'C:\dir, "new"']


@pytest.fixture
def opened(tmp_path: Path) -> Callable[..., Manifest]:
    def open_it(name: str, data: bytes | str, **options: Any) -> Manifest:
        path = tmp_path / name
        path.write_bytes(data.encode() if isinstance(data, str) else data)
        return manifest_of(SourceConfig(uri=str(path), **options), NO_OPTIONS, str(tmp_path / "work"))

    return open_it


def test_quotes_that_spark_has_escaped_are_read_with_the_option(opened: Callable[..., Manifest]) -> None:
    rows = rows_of(opened("m.csv", SPARK, keep=("caption",), csv_escape="\\"))
    assert [row["caption"] for row in rows] == CAPTIONS
    assert [row["uri"] for row in rows] == [f"s3://b/{number}" for number in range(5)]


def test_an_escaped_row_is_what_pyarrow_reads() -> None:
    quoted = "".join(line for line in SPARK.splitlines(keepends=True) if "b/3" not in line)
    options = pyarrow.csv.ParseOptions(escape_char="\\", double_quote=False, newlines_in_values=True)
    table = pyarrow.csv.read_csv(io.BytesIO(quoted.encode()), parse_options=options)
    header, *rows = CsvRows(iter(quoted.splitlines(keepends=True)), ",", "\\")
    assert [dict(zip(header, row, strict=True)) for row in rows] == table.to_pylist()


def test_without_the_option_they_are_failed_rows_that_name_it(opened: Callable[..., Manifest]) -> None:
    """Each was a row with another caption: `a \\red\\" bicycle"`."""
    rows = rows_of(opened("m.csv", 'uri,caption\ns3://b/0,"a \\"red\\" bicycle"\ns3://b/1,"b"\n', keep=("caption",)))
    assert [(row["uri"], row["caption"]) for row in rows] == [(None, None), ("s3://b/1", "b")]
    assert rows[0]["error_class"] == "bad_uri"
    assert r"m.csv:2: text behind a closing quote; " in rows[0]["error"]
    assert r"source.csv_escape='\'" in rows[0]["error"]


@pytest.mark.parametrize("escape", [None, "\\"])
@pytest.mark.parametrize(
    ("lines", "says"),
    [
        ('"a" b,1\n', "text behind a closing quote"),
        ("a\rb,1\n", "a carriage return alone in a field without quotes"),
        ('"a,1\nb,2\n', "a quote that is never closed, up to line 3"),
    ],
)
def test_a_row_that_is_none_says_why(
    opened: Callable[..., Manifest], lines: str, says: str, escape: str | None
) -> None:
    rows = rows_of(opened("m.csv", "uri,n\n" + lines, csv_escape=escape))
    assert [row["error_class"] for row in rows] == ["bad_uri"]
    assert f"m.csv:2: {says}" in rows[0]["error"]


@pytest.mark.parametrize("escape", [None, "\\"])
def test_both_ways_read_what_python_writes(escape: str | None) -> None:
    """Fields of every kind, with the doubling or the escape that Python's csv module writes."""
    table = [["a", "", "b,c"], ["\\", 'q"q', "two\nlines"], ['"', " ", "\ttab"], ["é", "a\\", '\\"']]
    out = io.StringIO()
    style: dict[str, Any] = {"doublequote": escape is None, "escapechar": escape, "lineterminator": "\n"}
    csv.writer(out, quoting=csv.QUOTE_ALL, **style).writerows(table)
    assert list(CsvRows(iter(out.getvalue().splitlines(keepends=True)), ",", escape)) == table


def test_a_quote_that_is_never_closed_swallows_no_more_than_a_field_may_hold() -> None:
    lines = ['"a\n', *["x" * 1000 + "\n"] * 200]
    rows = CsvRows(iter(lines), ",", "\\")
    with pytest.raises(CsvError, match="a field longer than 131072 characters"):
        next(rows)
    assert 60 < len(list(rows)) < 80


@pytest.mark.parametrize(
    ("name", "data", "says"),
    [
        ("m.csv", b"uri,n\ra,1\rb,2\r", "has lines that end in a carriage return alone"),
        ("m.txt", b"a.jpg\rb.jpg", "has lines that end in a carriage return alone"),
        ("m.jsonl", b'{"uri": "a"}\r{"uri": "b"}\r', "has lines that end in a carriage return alone"),
        ("m.csv", b"uri\rx,n\na,1\n", "the header cannot be read: a carriage return alone"),
        ("m.csv", b"uri," + b"n" * 140_000 + b"\na,1\n", "the header cannot be read: a field longer than 131072"),
        ("m.csv", b'"uri"x,n\na,1\n', "the header cannot be read: text behind a closing quote"),
        *(
            (name, "uri\na\n".encode(encoding), "is UTF-16, or no text; write it as UTF-8")
            for name in ("m.csv", "m.txt", "m.jsonl")
            for encoding in ("utf-16", "utf-16-le", "utf-16-be", "utf-32")
        ),
        # Without a time of day in it: test processes compare the names of their tests.
        ("m.csv.gz", gzip.compress("uri\na\n".encode("utf-16"), mtime=0), "is UTF-16"),
        ("m.csv.zst", pa.compress(b"uri\n" + b"a\n" * 999, "zstd").to_pybytes()[:-5], "broken zstd data"),
        ("m.csv.zst", b"no zstd at all", "broken zstd data"),
        ("m.jsonl", b'{"uri": "a"}\n', None),
    ],
)
def test_files_that_are_no_lines_of_utf8_are_sentences(
    opened: Callable[..., Manifest], name: str, data: bytes, says: str | None
) -> None:
    if says is None:
        with pytest.raises(SourceError, match="csv_escape is set, and is for CSV alone"):
            opened(name, data, csv_escape="\\")
        return
    with pytest.raises(SourceError, match=rf"m\.[a-z.]+: {says}"):
        opened(name, data)


@pytest.mark.parametrize("name", ["m.tsv", "m.csv", "m.jsonl", "m.txt"])
@pytest.mark.parametrize("packed", ["", ".gz", ".zst"])
def test_tabs_and_packed_files_are_read(opened: Callable[..., Manifest], name: str, packed: str) -> None:
    lines = {
        "m.tsv": 'uri\tnote\ns3://b/0\ta, b\ns3://b/1\t"c\td"\n',
        "m.csv": 'uri,note\ns3://b/0,"a, b"\ns3://b/1,c\td\n',
        "m.jsonl": '{"uri": "s3://b/0", "note": "a, b"}\n{"uri": "s3://b/1", "note": "c\\td"}\n',
        "m.txt": "s3://b/0\ns3://b/1\n",
    }
    data = lines[name].encode()
    if packed == ".gz":
        data = gzip.compress(data)
    elif packed == ".zst":
        # Two frames, as `zstd` makes of files that are appended.
        data = b"".join(pa.compress(part, "zstd").to_pybytes() for part in (data[:9], data[9:]))
    keep = () if name == "m.txt" else ("note",)
    rows = rows_of(opened(name + packed, data, keep=keep))
    assert [row["uri"] for row in rows] == ["s3://b/0", "s3://b/1"]
    assert not keep or [row["note"] for row in rows] == ["a, b", "c\td"]


@pytest.mark.parametrize("empty", ["", "\n"])
@pytest.mark.parametrize("at", ["a", "z"])
@pytest.mark.parametrize(
    ("ending", "data"), [("csv", "url,c\ns3://b/1,x\n"), ("jsonl", '{"url":"s3://b/1","c":"x"}\n')]
)
def test_a_file_without_lines_is_one_without_rows(tmp_path: Path, ending: str, data: str, at: str, empty: str) -> None:
    """Spark and pandas write such files for empty partitions: nothing, or the end of a line."""
    (tmp_path / "s").mkdir()
    (tmp_path / f"s/b.{ending}").write_text(data)
    (tmp_path / f"s/{at}.{ending}").write_text(empty)
    config = SourceConfig(uri=str(tmp_path / "s"), keep=("c",))
    manifest = manifest_of(config, NO_OPTIONS, str(tmp_path / "work"))
    assert [(row["uri"], row["c"]) for row in rows_of(manifest)] == [("s3://b/1", "x")]


def test_a_column_that_the_first_file_of_json_lines_lacks_is_looked_for_in_the_next(tmp_path: Path) -> None:
    """Spark leaves a field out where it is null."""
    (tmp_path / "s").mkdir()
    (tmp_path / "s/0.jsonl").write_text('{"uri":"s3://b/0"}\n')
    (tmp_path / "s/1.jsonl").write_text('{"uri":"s3://b/1","c":"x"}\n')
    config = SourceConfig(uri=str(tmp_path / "s"), keep=("c",))
    assert [row["c"] for row in rows_of(manifest_of(config, NO_OPTIONS, str(tmp_path / "work")))] == [None, "x"]
