"""Manifests of lines as Parquet parts: what is read column by column is what is read row by row, and a kill costs only
the parts that were not there."""

import gzip
import json
import os
import random
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from operators.storage.stores import NO_OPTIONS
from pipelines.manifests.files import file_info
from pipelines.manifests.lines.packed import opened_lines
from pipelines.manifests.lines.tables import LinesFile, RowsTable
from pipelines.manifests.lines.text import Line
from pipelines.manifests.lines.write import LinesSource, write_lines_parts
from pipelines.manifests.manifest import SourceConfig, SourceError
from pipelines.manifests.parts import part_name
from pipelines.manifests.records import (
    CsvColumns,
    ManifestRecord,
    csv_records_below,
    jsonl_records,
    read_csv_header,
    text_records,
)

COLUMNS = {"id_column": "n", "keep": ("caption", "score"), "rename": {"score": "rating"}}


def source_of(path: Path, kind: str, **options: object) -> LinesSource:
    files = [path] if path.is_file() else sorted(path.iterdir())
    given = {"uri": str(path), "rows_per_shard": 7, **({} if kind == "text" else {"uri_column": "uri"}), **options}
    config = SourceConfig.model_validate(given)
    found = [file_info(str(file), NO_OPTIONS) for file in files]
    return LinesSource(files=found, kind=kind, config=config, in_path=(), storage=NO_OPTIONS)


def written(source: LinesSource, folder: Path) -> list[dict[str, object]]:
    """The rows of all parts, which must be full but for the last one."""
    done = write_lines_parts(source, str(folder), None)
    numbers = range(-(-done.num_rows // source.config.rows_per_shard))
    parts = [pq.read_table(folder / part_name(number)) for number in numbers]
    assert all(part.num_rows == source.config.rows_per_shard for part in parts[:-1])
    rows: list[dict[str, object]] = [row for part in parts for row in part.to_pylist()]
    assert len(rows) == done.num_rows
    return rows


def read_one_by_one(source: LinesSource) -> list[dict[str, object]]:
    """The rows as the readers of single rows have them, line after line."""
    rows = []
    for file in source.files:
        with opened_lines(file.uri, NO_OPTIONS) as lines:
            records = list(_records(source, lines))
        if records:
            columns = RowsTable(LinesFile(file.uri, source.kind, source.config, None), source.config.keep)
            rows += columns.of_records(records).to_pylist()
    return rows


def _records(source: LinesSource, lines: Iterator[Line]) -> Iterator[ManifestRecord]:
    if source.kind == "text":
        yield from text_records(lines)
    elif source.kind == "jsonl":
        yield from jsonl_records(lines, source.config)
    else:
        header = read_csv_header(lines, ",", source.config.csv_escape, "")
        if header:
            yield from csv_records_below(lines, CsvColumns.choose(header, ",", source.config, ""))


URIS = ["s3://b/a.jpg", "a b.jpg", "", "data:x", "/x/../y.jpg", "file:///a%20b", "http://h/é.jpg", "x\ty", "#x", "é"]
ODD_TEXT = [b"", b"  ", b"# none", b" s3://b/1 ", b"\xff", b"\xc2\xa0", b"a\rb", b"x\r", b"\x1cs3://b/2\x1f", b"\0"]
ODD_CSV = [
    b'"s3://b/""q""",1,"a, b",0.5',
    b'"two\nlines.jpg",2,"x\r\ny\n",',
    b's3://b/5",3,wide 5" disk,1',
    b'"x" y,4,c,1',
    b"too,few",
    b"too,many,fields,in,it",
    b'"",,"",""',
    b"a\rb,5,c,1",
    b'"a\rb",5,c,1',
    b"\xff,6,c,1",
    b'"\xff",6,c,1',
    b"\xef\xbb\xbfx,7,c,1",
    b"n\0l,8,c,1",
    b'sp,"9", "q",1',
    b'back,1,"a \\"q\\" b",2',
    b",,,",
    b"",
]
ODD_JSON = [
    b"",
    b"  ",
    b"{}",
    b"[]",
    b"nothing",
    b'{"uri": 1}',
    b'{"uri": "a", "n": 7.0}',
    b'{"uri": "a", "n": true}',
    b'{"uri": "a", "n": 99999999999999999999}',
    b'{"uri": "a", "uri": "b"}',
    b'{"uri": "a"}{"uri": "b"}',
    b' {"uri": "a"} ',
    b'{"uri": "\\ud800"}',
    b'{"uri": "a", "n": "\\ud800"}',
    b'{"uri": "a", "caption": "\\ud800"}',
    b'{"uri": "a", "score": 1.0}',
    b'{"uri": "a", "score": 1e-7, "caption": {"a": [1, 2]}}',
    b'{"uri": "a", "score": NaN}',
    b'{"uri": "a", "x": Inf}',
    b'{"uri": "a", "x": 1e999}',
    b'{"uri": "a", "x": [1, 2,]}',
    b'{"uri": "a", "x": ' + b"[" * 3000 + b"]" * 3000 + b"}",
    b'{"uri": "a", "x": ' + b"9" * 4301 + b"}",
    b'{"uri": "\xff"}',
    b'{"uri": "a\tb"}',
    b'{"uri": "a", "caption": false}',
]


def _plain(kind: str, chosen: random.Random, number: int) -> bytes:
    uri, caption = chosen.choice(URIS), chosen.choice(["one", "two words", 'said "x"', "", "ünder"])
    if kind == "text":
        return uri.encode()
    if kind == "jsonl":
        values = {"uri": uri, "n": chosen.choice([number, str(number)]), "caption": caption, "score": number + 0.25}
        return json.dumps(values, ensure_ascii=chosen.random() < 0.5).encode()
    quoted = '"' + caption.replace('"', '""') + '"'
    return f"{uri},{number},{quoted if number % 2 else caption.replace(chr(34), '')},{number / 4}".encode()


@pytest.mark.parametrize("kind", ["text", "csv", "csv escaped", "jsonl"])
@pytest.mark.parametrize("share", [0.0, 0.05, 0.4])
def test_columns_are_what_single_rows_are(
    tmp_path: Path, kind: str, share: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    odd = {"text": ODD_TEXT, "jsonl": ODD_JSON}.get(kind, ODD_CSV)
    options = {} if kind == "text" else dict(COLUMNS)
    if kind == "csv escaped":
        kind, options = "csv", options | {"csv_escape": "\\"}
    for seed in range(8):
        chosen = random.Random(seed)
        monkeypatch.setattr("pipelines.manifests.lines.blocks.BLOCK_BYTES", chosen.choice([16, 300, 5_000, 4 << 20]))
        lines = [
            chosen.choice(odd) if chosen.random() < share else _plain(kind, chosen, number) for number in range(200)
        ]
        data = chosen.choice([b"\n", b"\r\n"]).join(([b"uri,n,caption,score"] if kind == "csv" else []) + lines)
        path = tmp_path / f"{seed}.{kind}"
        path.write_bytes(data + chosen.choice([b"", b"\n", b'\n"never closed,1,2,3\n' if kind == "csv" else b"\n\n"]))
        source = source_of(path, kind, **options)
        assert written(source, tmp_path / f"parts-{seed}") == read_one_by_one(source), f"seed {seed}"


@pytest.mark.parametrize("kind", ["text", "csv", "jsonl"])
def test_lines_over_a_mebibyte_cost_their_row(tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipelines.manifests.lines.blocks.BLOCK_BYTES", 1 << 19)
    long = b"x" * (3 << 20)
    good = {"text": b"s3://b/1", "csv": b"s3://b/1,1,c,2", "jsonl": b'{"uri": "s3://b/1"}'}[kind]
    lines = [b"uri,n,caption,score"] * (kind == "csv") + [good, long, good, long[: 1 << 20], good, long]
    path = tmp_path / f"m.{kind}"
    path.write_bytes(b"\n".join(lines))
    source = source_of(path, kind, rows_per_shard=2, **({} if kind == "text" else COLUMNS))
    rows = written(source, tmp_path / "parts")
    assert rows == read_one_by_one(source)
    assert [bool(row["error"]) for row in rows] == [False, True, False, True, False, True]
    # From each part on: the place of a row behind a line that was cut short is right too.
    assert _goes_on_from_every_part(source, tmp_path / "again") == rows


def _goes_on_from_every_part(source: LinesSource, folder: Path) -> list[dict[str, object]]:
    """Written with one more part each time, each time from where the last one ended."""
    rows = written(source, folder.with_name("whole"))
    for parts in range(1, -(-len(rows) // source.config.rows_per_shard) + 1):
        limit = parts * source.config.rows_per_shard
        some = LinesSource(**{**vars(source), "config": source.config.model_copy(update={"limit": limit})})
        before = {path.name: path.stat().st_mtime_ns for path in folder.glob("part-*")}
        written(some, folder)
        after = {path.name: path.stat().st_mtime_ns for path in folder.glob("part-*")}
        assert len(after) == parts
        assert before.items() <= after.items(), "parts that were there are not written again"
    return written(source, folder)


@pytest.mark.parametrize("kind", ["text", "csv", "csv.gz", "jsonl"])
def test_each_part_goes_on_where_the_last_one_ended(tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipelines.manifests.lines.blocks.BLOCK_BYTES", 256)
    chosen = random.Random(3)
    name = kind.split(".")[0]
    odd = {"text": ODD_TEXT, "jsonl": ODD_JSON}.get(name, ODD_CSV)
    (tmp_path / "in").mkdir()
    for file in range(4):
        count = 23 * (file != 2)
        lines = [
            chosen.choice(odd) if chosen.random() < 0.1 else _plain(name, chosen, number) for number in range(count)
        ]
        first = [b"uri,n,caption,score"] if name == "csv" else [_plain(name, chosen, 0)]
        data = b"\n".join(first * (file != 2) + lines)
        (tmp_path / f"in/{file}.{kind}").write_bytes(gzip.compress(data) if kind.endswith("gz") else data)
    source = source_of(tmp_path / "in", name, **({} if name == "text" else COLUMNS))
    assert _goes_on_from_every_part(source, tmp_path / "parts") == read_one_by_one(source)


def test_a_kill_costs_only_the_parts_that_are_not_there(tmp_path: Path) -> None:
    path = tmp_path / "m.csv"
    path.write_text("uri,n\n" + "".join(f"s3://b/{number}.jpg,{number}\n" for number in range(100_000)))
    script = (
        "import os, signal, sys\n"
        "from operators.storage.stores import NO_OPTIONS\n"
        "from pipelines.manifests.manifest import SourceConfig\n"
        "from pipelines.manifests.open import open_manifest, open_source\n"
        "config = SourceConfig(uri=sys.argv[1], id_column='n', rows_per_shard=2_000)\n"
        "kill = lambda rows: os.kill(os.getpid(), signal.SIGKILL) if rows >= int(sys.argv[3]) else None\n"
        "manifest = open_manifest(open_source(config, NO_OPTIONS), config, sys.argv[2], kill)\n"
        "print(manifest.num_rows, manifest.digest)\n"
    )

    def start(work: Path, killed_at: int) -> subprocess.CompletedProcess[str]:
        arguments = [sys.executable, "-c", script, str(path), str(work), str(killed_at)]
        return subprocess.run(arguments, capture_output=True, text=True)

    whole = start(tmp_path / "whole", 1_000_000)
    times: dict[str, int] = {}
    for killed_at in (20_000, 60_000):
        assert start(tmp_path / "work", killed_at).returncode == -signal.SIGKILL
        now = {str(part): part.stat().st_mtime_ns for part in (tmp_path / "work").rglob("part-*")}
        assert times.items() <= now.items(), "a part that was there is not written again"
        assert len(times) < len(now) < 50
        assert not list((tmp_path / "work").rglob("manifest.json"))
        times = now
    done = start(tmp_path / "work", 1_000_000)
    assert done.stdout == whole.stdout, done.stderr
    assert times.items() <= {str(part): part.stat().st_mtime_ns for part in (tmp_path / "work").rglob("part-*")}.items()
    (folder,), (other,) = ([p.parent for p in (tmp_path / n).rglob("manifest.json")] for n in ("work", "whole"))
    numbers = pa.concat_tables(pq.read_table(folder / part_name(number)) for number in range(50))["id"]
    assert numbers.to_pylist() == [str(number) for number in range(100_000)]
    assert json.loads((folder / "manifest.json").read_text()) == json.loads((other / "manifest.json").read_text())


def test_a_file_that_is_replaced_meanwhile_gives_no_part(tmp_path: Path) -> None:
    path = tmp_path / "m.txt"
    path.write_text("s3://b/1\n" * 20)
    source = source_of(path, "text")
    os.utime(path, ns=(1, 1))
    with pytest.raises(SourceError, match=r"m\.txt was replaced while it was read; start the run again"):
        write_lines_parts(source, str(tmp_path / "parts"), None)
    assert not list(tmp_path.glob("parts/part-*"))
