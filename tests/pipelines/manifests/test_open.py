"""Sources end to end on local files: what a user names, and the rows that come out of it."""

import gzip
import json
import os
import pickle
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import xxhash

from made.manifests import manifest_of
from operators.api.quota import LocalQuota, QuotaLimits
from operators.storage.stores import NO_OPTIONS
from pipelines.manifests.manifest import Manifest, SourceConfig, SourceError, SourceMissingError
from pipelines.run.quota import Exhausted
from pipelines.sources.shard_rows import source_schema
from pipelines.sources.source import Source
from pipelines.sources.work import shard_work


@pytest.fixture
def opened(tmp_path: Path) -> Callable[..., Manifest]:
    def open_it(uri: str | Path, **options: Any) -> Manifest:
        return manifest_of(SourceConfig(uri=str(uri), **options), NO_OPTIONS, str(tmp_path / "work"))

    return open_it


def rows_of(manifest: Manifest, rows_per_batch: int = 7) -> list[dict[str, Any]]:
    """All rows, in manifest order, through a pickled source as a worker gets it."""
    source = pickle.loads(pickle.dumps(Source(columns=manifest.columns)))
    rows: list[dict[str, Any]] = []
    for shard in manifest.shards:
        work = shard_work(shard, 100 + shard.number, np.ones(shard.num_rows, bool))
        assert work is not None
        for table in source.read(work, rows_per_batch):
            assert table.schema.equals(source.schema())
            assert 0 < table.num_rows <= rows_per_batch
            rows += table.to_pylist()
    assert len(rows) == manifest.num_rows
    return rows


def uris_of(manifest: Manifest) -> list[str | None]:
    return [row["uri"] for row in rows_of(manifest)]


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def parquet(path: Path, columns: dict[str, Any], row_group_size: int = 1000) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(columns), path, row_group_size=row_group_size)
    return path


def touch_images(root: Path, *names: str) -> None:
    for name in names:
        write(root / name, "x")


@pytest.mark.parametrize("kind", ["parquet", "csv", "jsonl", "txt", "csv.gz", "jsonl.gz", "ndjson"])
def test_every_kind_gives_the_same_rows(tmp_path: Path, opened: Callable[..., Manifest], kind: str) -> None:
    uris = [f"https://host/{i}.jpg" for i in range(20)]
    path = tmp_path / f"m.{kind}"
    if kind == "parquet":
        parquet(path, {"uri": uris})
    else:
        lines = {"csv": ["uri", *uris], "txt": uris}.get(kind.split(".")[0], [json.dumps({"uri": u}) for u in uris])
        data = "\n".join(lines).encode()
        path.write_bytes(gzip.compress(data) if kind.endswith(".gz") else data)
    rows = rows_of(opened(path))
    assert [row["uri"] for row in rows] == uris
    assert [(row["shard"], row["row"]) for row in rows] == [(100, i) for i in range(20)]
    assert [row["id"] for row in rows] == [xxhash.xxh3_128_hexdigest(u.encode()) for u in uris]
    assert all(row["error_class"] is None and row["error_stage"] is None for row in rows)


def test_parquet_is_read_in_place_and_shards_are_row_groups(
    tmp_path: Path, opened: Callable[..., Manifest], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipelines.manifests.parquet.SHARD_ROWS", 25)
    parquet(tmp_path / "in/b.parquet", {"uri": [f"s3://b/{i}" for i in range(35)]}, row_group_size=10)
    parquet(tmp_path / "in/a.parquet", {"uri": [f"s3://a/{i}" for i in range(40)]}, row_group_size=40)
    manifest = opened(tmp_path / "in")
    assert [(os.path.basename(s.path), s.row_groups, s.first_row, s.num_rows) for s in manifest.shards] == [
        ("a.parquet", range(0, 1), 0, 40),
        ("b.parquet", range(0, 2), 40, 20),
        ("b.parquet", range(2, 4), 60, 15),
    ]
    assert uris_of(manifest) == [f"s3://a/{i}" for i in range(40)] + [f"s3://b/{i}" for i in range(35)]
    assert not (tmp_path / "work").exists()


def test_only_wanted_rows_are_read(tmp_path: Path, opened: Callable[..., Manifest]) -> None:
    manifest = opened(parquet(tmp_path / "m.parquet", {"uri": [f"s3://b/{i}" for i in range(50)]}, 16))
    wanted = np.zeros(50, bool)
    wanted[[3, 17, 40]] = True
    work = shard_work(manifest.shards[0], 5, wanted)
    assert work is not None
    tables = list(Source(columns=manifest.columns).read(work, 8))
    assert [t.num_rows for t in tables] == [1, 1, 1]
    got = pa.concat_tables(tables)
    assert got["row"].to_pylist() == [3, 17, 40]
    assert got["uri"].to_pylist() == ["s3://b/3", "s3://b/17", "s3://b/40"]
    assert got["shard"].to_pylist() == [5, 5, 5]


def test_what_no_quota_pays_for_is_not_read(tmp_path: Path, opened: Callable[..., Manifest]) -> None:
    pq.write_table(pa.table({"uri": [f"{n}.jpg" for n in range(20)]}), tmp_path / "m.parquet")
    manifest = opened(tmp_path / "m.parquet")
    quota = LocalQuota(QuotaLimits(requests_per_minute=6000.0, max_images=8))
    source = Source(columns=manifest.columns, halted=Exhausted(quota))
    work = shard_work(manifest.shards[0], 0, np.ones(20, bool))
    assert work is not None
    batches = source.read(work, 5)
    assert next(batches).num_rows == next(batches).num_rows == 5
    quota.exchange(8, 0)
    assert next(batches, None) is None
    assert next(source.read(work, 5), None) is None


def test_columns_named_and_kept(tmp_path: Path, opened: Callable[..., Manifest]) -> None:
    columns = {
        "link": pa.array(["s3://b/1", "s3://b/2"]).dictionary_encode(),
        "key": pa.array([7, None], pa.int64()),
        "price": pa.array([1.5, None]),
        "tags": pa.array([["a"], []], pa.list_(pa.string())),
    }
    path = parquet(tmp_path / "m.parquet", columns)
    manifest = opened(path, uri_column="link", id_column="key", keep=("price", "tags"))
    assert source_schema(manifest.columns).names[2:6] == ["id", "uri", "price", "tags"]
    assert source_schema(manifest.columns).field("price").type == pa.float64()
    first, second = rows_of(manifest)
    assert (first["id"], first["price"], first["tags"]) == ("7", 1.5, ["a"])
    assert second["id"] == xxhash.xxh3_128_hexdigest(b"s3://b/2")


def test_csv_and_jsonl_keep_columns_as_text(tmp_path: Path, opened: Callable[..., Manifest]) -> None:
    table = write(tmp_path / "m.csv", 'n,url,note\r\n1,s3://b/1,"a ""b"",\r\nc"\r\n2,s3://b/2,\r\n')
    rows = rows_of(opened(table, id_column="n", keep=("note",)))
    assert [(r["id"], r["uri"], r["note"]) for r in rows] == [("1", "s3://b/1", 'a "b",\nc'), ("2", "s3://b/2", None)]
    lines = write(
        tmp_path / "m.jsonl", '{"image_path": "s3://b/1", "n": 3, "note": {"é": [1]}}\n\n{"image_path": "s3://b/2"}'
    )
    rows = rows_of(opened(lines, id_column="n", keep=("note",)))
    assert [(r["id"], r["note"]) for r in rows] == [("3", '{"é": [1]}'), (xxhash.xxh3_128_hexdigest(b"s3://b/2"), None)]


def test_uri_column_default_order(tmp_path: Path, opened: Callable[..., Manifest]) -> None:
    assert uris_of(opened(parquet(tmp_path / "a.parquet", {"url": ["s3://b/url"], "uri": ["s3://b/uri"]}))) == [
        "s3://b/uri"
    ]
    assert uris_of(opened(parquet(tmp_path / "b.parquet", {"image_path": ["s3://b/p"], "url": ["s3://b/url"]}))) == [
        "s3://b/url"
    ]


@pytest.mark.parametrize("kind", ["parquet", "csv", "jsonl"])
def test_bad_uris_are_failed_rows(tmp_path: Path, opened: Callable[..., Manifest], kind: str) -> None:
    bad = [
        None,
        "",
        "  ",
        "s3://b/a\x07b",
        "://x",
        "1http://x",
        "data:image/png;base64,AA",
        "x" * 9000,
        "s3://",
        "file:///a%00",
    ]
    uris = ["s3://b/0", *bad, "s3://b/1"]
    path = tmp_path / f"m.{kind}"
    if kind == "parquet":
        parquet(path, {"uri": uris})
    elif kind == "csv":
        write(path, "uri,n\n" + "".join(f'"{u or ""}",{i}\n' for i, u in enumerate(uris)))
    else:
        write(path, "".join(json.dumps({"uri": u}) + "\n" for u in uris))
    rows = rows_of(opened(path))
    assert [row["uri"] for row in rows] == ["s3://b/0", *[None] * len(bad), "s3://b/1"]
    assert {(r["error_class"], r["error_stage"], r["id"], r["error_attempts"]) for r in rows[1:-1]} == {
        ("bad_uri", "source", None, 0)
    }
    assert rows[0]["error_class"] is None
    assert rows[-1]["error_class"] is None
    assert "9000" in rows[8]["error"]
    assert "m." + kind in rows[8]["error"]


def test_broken_lines_keep_their_place(tmp_path: Path, opened: Callable[..., Manifest]) -> None:
    data = b"uri,n\ns3://b/0,0\nonly-one\n\ns3://b/2,2,3\ns3://b/\xff,3\ns3://b/4,4\n"
    (tmp_path / "m.csv").write_bytes(data)
    rows = rows_of(opened(tmp_path / "m.csv"))
    assert [row["uri"] for row in rows] == ["s3://b/0", None, None, None, "s3://b/4"]
    assert "m.csv:3: 1 fields" in rows[1]["error"]
    assert "m.csv:5: 3 fields" in rows[2]["error"]
    assert "m.csv:6: not valid UTF-8" in rows[3]["error"]
    lines = [
        '{"uri": "s3://b/0"}',
        "{oops",
        "[1]",
        '{"uri": 5}',
        '{"uri": "s3://\\ud800"}',
        "{}",
        '{"uri": "s3://b/6"}',
    ]
    rows = rows_of(opened(write(tmp_path / "m.jsonl", "\n".join(lines))))
    assert [row["uri"] for row in rows] == ["s3://b/0", None, None, None, None, None, "s3://b/6"]
    assert [row["error"].partition("m.jsonl:")[2][0] for row in rows[1:-1]] == ["2", "3", "4", "5", "6"]


def test_invalid_utf8_in_parquet(tmp_path: Path, opened: Callable[..., Manifest]) -> None:
    raw = pa.array([b"s3://b/0", b"s3://b/\xff", None], pa.binary())
    text = raw.cast(pa.string(), safe=False)
    for column in (raw, text):
        rows = rows_of(opened(parquet(tmp_path / "m.parquet", {"uri": column, "note": text}), keep=("note",)))
        assert [row["uri"] for row in rows] == ["s3://b/0", None, None]
        assert "UTF-8" in rows[1]["error"]
        assert rows[1]["note"] == "s3://b/\ufffd"


def test_a_stray_quote_and_a_huge_line_are_bounded(tmp_path: Path, opened: Callable[..., Manifest]) -> None:
    good = "".join(f"s3://b/{i:08d},1\n" for i in range(20_000))
    rows = rows_of(opened(write(tmp_path / "m.csv", f'uri,n\n"s3://b/x,1\n{good}')), 8192)
    assert rows[0]["error_class"] == "bad_uri"
    assert 10_000 < sum(row["error_class"] is None for row in rows) < 20_000
    assert rows[-1]["uri"] == "s3://b/00019999"
    huge = "y" * 3_000_000
    rows = rows_of(opened(write(tmp_path / "m.txt", f"s3://b/0\n{huge}\ns3://b/1\n{huge}")))
    assert [row["uri"] for row in rows] == ["s3://b/0", None, "s3://b/1", None]
    assert "m.txt:2: line longer" in rows[1]["error"]


def test_text_skips_comments_and_blank_lines(tmp_path: Path, opened: Callable[..., Manifest]) -> None:
    path = tmp_path / "m.txt"
    path.write_bytes(b"\xef\xbb\xbf# mine\r\n\r\n  s3://b/a b#1?.jpg \r\nb.jpg")
    assert uris_of(opened(path)) == ["s3://b/a b#1?.jpg", str(tmp_path / "b.jpg")]


@pytest.mark.parametrize("kind", ["parquet", "csv"])
def test_relative_paths_start_at_the_manifest(tmp_path: Path, opened: Callable[..., Manifest], kind: str) -> None:
    texts = ["x.jpg", "./sub/x y#1%20?.jpg", "../up.jpg", "/abs/x.jpg", "file:///abs/a%20b.jpg", "~/x.jpg", "c:x.jpg"]
    path = tmp_path / f"in/m.{kind}"
    parquet(path, {"uri": texts}) if kind == "parquet" else write(path, "uri\n" + "\n".join(texts))
    base = str(tmp_path / "in")
    want = [f"{base}/x.jpg", f"{base}/sub/x y#1%20?.jpg", f"{tmp_path}/up.jpg", "/abs/x.jpg", "/abs/a b.jpg"]
    manifest = opened(path)
    assert uris_of(manifest) == [*want, f"{base}/~/x.jpg", f"{base}/c:x.jpg"]
    assert manifest.allowed_roots == (base,)


def test_a_relative_source_gives_absolute_uris(
    tmp_path: Path, opened: Callable[..., Manifest], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    touch_images(tmp_path / "p", "a.jpg")
    write(tmp_path / "m.txt", "p/a.jpg")
    for source in ("p", "./p/*.jpg", "p/a.jpg", "m.txt", f"file://{tmp_path}/p"):
        assert uris_of(opened(source)) == [str(tmp_path / "p/a.jpg")]


def test_duplicates_stay_and_share_an_id(tmp_path: Path, opened: Callable[..., Manifest]) -> None:
    signed = "https://h/a.jpg?X-Amz-Signature="
    rows = rows_of(
        opened(write(tmp_path / "m.txt", f"s3://b/1\ns3://b/1\n{signed}aaa\n{signed}bbb\nhttps://h/a.jpg?page=1"))
    )
    assert len(rows) == 5
    assert rows[0]["id"] == rows[1]["id"]
    assert rows[2]["id"] == rows[3]["id"] != rows[4]["id"]
    assert rows[2]["uri"] == signed + "aaa"


@pytest.mark.parametrize("kind", ["parquet", "csv"])
def test_ids_and_kept_values_that_are_uris_lose_their_secrets(
    tmp_path: Path, opened: Callable[..., Manifest], kind: str
) -> None:
    """The URI itself is fetched with them, and stored without."""
    signed, plain = "https://u:pw@h/a.jpg?X-Amz-Signature=abc&w=2", "https://h/a.jpg?w=2"
    about = "see https://h/a?token=this"
    path = tmp_path / f"m.{kind}"
    if kind == "parquet":
        parquet(path, {"uri": [signed], "about": [about]})
    else:
        write(path, f"uri,about\n{signed},{about}")
    [row] = rows_of(opened(path, id_column="uri", keep=("uri", "about"), rename={"uri": "address"}))
    assert (row["id"], row["address"], row["about"], row["uri"]) == (plain, plain, about, signed)


@pytest.mark.parametrize("kind", ["parquet", "csv", "jsonl", "txt"])
def test_an_empty_manifest_has_no_rows(tmp_path: Path, opened: Callable[..., Manifest], kind: str) -> None:
    path = tmp_path / f"m.{kind}"
    parquet(path, {"uri": pa.array([], pa.string())}) if kind == "parquet" else write(
        path, "uri\n" if kind == "csv" else ""
    )
    manifest = opened(path)
    assert (manifest.shards, manifest.num_rows, manifest.complete) == ((), 0, True)


def test_a_folder_of_images_in_stable_order(tmp_path: Path, opened: Callable[..., Manifest]) -> None:
    names = ["_DSC1.JPG", "a/2.png", "a/10.webp", "a.jpg", "b.Tiff", "a b#%?.jpeg", "z/z/z.avif"]
    touch_images(tmp_path / "p", *names, ".hidden.jpg", ".git/x.jpg", "notes.md", "labels.csv", "noending")
    os.symlink(tmp_path / "p", tmp_path / "p/z/loop")
    manifest = opened(tmp_path / "p")
    assert uris_of(manifest) == sorted(f"{tmp_path}/p/{name}" for name in names)
    assert manifest.allowed_roots == (f"{tmp_path}/p",)


def test_images_win_over_manifests_with_a_notice(tmp_path: Path, opened: Callable[..., Manifest]) -> None:
    touch_images(tmp_path / "p", "labels.csv", "x.jpg", "y.csv", "z/z.tar", "z/z.csv")
    told = "lies among images and is not read; to read it, name it as the source"
    for _ in range(2):
        manifest = opened(tmp_path / "p")
        assert uris_of(manifest) == [str(tmp_path / "p/x.jpg")]
        # Three by name, wherever they lie.
        assert manifest.notices == tuple(f"{tmp_path}/p/{name} {told}" for name in ("labels.csv", "y.csv", "z/z.csv"))


def test_globs(tmp_path: Path, opened: Callable[..., Manifest]) -> None:
    touch_images(tmp_path / "p", "1.jpg", "2.png", "a/3.jpg", "a/b/4.jpg", "[5].jpg")
    root = f"{tmp_path}/p"
    assert uris_of(opened(f"{root}/*.jpg")) == [f"{root}/1.jpg", f"{root}/[5].jpg"]
    assert uris_of(opened(f"{root}/**/*.jpg")) == sorted(
        f"{root}/{n}" for n in ("1.jpg", "[5].jpg", "a/3.jpg", "a/b/4.jpg")
    )
    assert uris_of(opened(f"{root}/?.*")) == [f"{root}/1.jpg", f"{root}/2.png"]
    assert uris_of(opened(f"{root}/*/[0-3].jpg")) == [f"{root}/a/3.jpg"]
    assert uris_of(opened(f"{root}/[5].jpg")) == [f"{root}/[5].jpg"]
    for part in "ab":
        parquet(tmp_path / f"m/{part}.parquet", {"uri": [f"s3://x/{part}"]})
    write(tmp_path / "m/_temporary/c.parquet", "no parquet")
    write(tmp_path / "m/README.txt", "not a manifest")
    write(tmp_path / "m/_committed.parquet", "no parquet")
    assert uris_of(opened(tmp_path / "m/*.parquet")) == ["s3://x/a", "s3://x/b"]
    with pytest.raises(SourceError, match=r"several kinds .*glob, such as"):
        opened(tmp_path / "m")


def test_a_glob_leaves_out_what_a_folder_leaves_out(tmp_path: Path, opened: Callable[..., Manifest]) -> None:
    """Spark writes a task's file under `_temporary/` and moves it; a task that was killed leaves one behind."""
    parquet(tmp_path / "m/x=1/part-0.parquet", {"uri": ["s3://x/a"]})
    for left in ("_temporary/0/task_1/part-0.parquet", "x=1/_old/part-1.parquet", ".stage/part-2.parquet"):
        parquet(tmp_path / "m" / left, {"uri": ["s3://x/again"]})
    for source in ("m", "m/**/*.parquet", "m/**", "m/*/*.parquet", "*/**/*.parquet"):
        assert uris_of(opened(tmp_path / source)) == ["s3://x/a"], source
    for source in ("m/_temporary/**/*.parquet", "m/_temporary", "m/**/_old/*.parquet", "m/*/_o*/*"):
        assert uris_of(opened(tmp_path / source)) == ["s3://x/again"], source


def test_names_that_are_no_uri_are_failed_rows(tmp_path: Path, opened: Callable[..., Manifest]) -> None:
    touch_images(tmp_path / "p", "ok.jpg", "new\nline.jpg")
    Path(os.fsdecode(os.fsencode(tmp_path) + b"/p/\xff.jpg")).write_text("x")
    rows = rows_of(opened(tmp_path / "p"))
    assert [row["uri"] for row in rows] == [None, str(tmp_path / "p/ok.jpg"), None]
    assert [row["error_class"] for row in rows] == ["bad_uri", None, "bad_uri"]
    assert "\n" not in rows[0]["error"]


def test_limit_keeps_positions_and_is_no_part_of_the_digest(tmp_path: Path, opened: Callable[..., Manifest]) -> None:
    path = write(tmp_path / "m.txt", "\n".join(f"s3://b/{i}" for i in range(50)))
    few = opened(path, limit=12, rows_per_shard=10)
    assert (few.num_rows, few.complete) == (20, False)
    more = opened(path, limit=25, rows_per_shard=10)
    full = opened(path, rows_per_shard=10)
    assert (more.num_rows, full.num_rows, full.complete) == (30, 50, True)
    assert few.digest == more.digest == full.digest
    assert rows_of(full)[:20] == rows_of(few)
    assert opened(path, limit=3, rows_per_shard=10).num_rows >= 3
    assert opened(path, limit=50, rows_per_shard=10).num_rows == 50
    assert opened(path, rows_per_shard=20).digest != full.digest
    touch_images(tmp_path / "p", *[f"{i}.jpg" for i in range(9)])
    listed = opened(tmp_path / "p", limit=4)
    assert listed.num_rows == 4
    assert listed.digest != opened(tmp_path / "p").digest


def test_a_limit_at_a_part_boundary_knows_whether_more_follows(tmp_path: Path, opened: Callable[..., Manifest]) -> None:
    path = write(tmp_path / "m.txt", "\n".join(f"s3://b/{i}" for i in range(20)))
    assert not opened(path, limit=10, rows_per_shard=10).complete
    assert opened(path, limit=20, rows_per_shard=10).complete


@pytest.mark.parametrize("source", ["m.txt", "p"])
def test_normalised_once_and_again_when_the_source_changed(
    tmp_path: Path, opened: Callable[..., Manifest], source: str
) -> None:
    write(tmp_path / "m.txt", "s3://b/1")
    touch_images(tmp_path / "p", "1.jpg", "2.jpg")
    first = opened(tmp_path / source)
    again = opened(tmp_path / source)
    assert again == first
    changed = tmp_path / source if source == "m.txt" else tmp_path / "p/1.jpg"
    write(changed, "s3://b/1\ns3://b/2")
    other = opened(tmp_path / source)
    assert other.digest != first.digest
    assert other.shards != first.shards
    assert uris_of(first)
    assert uris_of(other)


def test_a_listing_that_was_killed_is_written_anew(tmp_path: Path, opened: Callable[..., Manifest]) -> None:
    touch_images(tmp_path / "in", *(f"{number}.jpg" for number in range(30)))
    first = opened(tmp_path / "in", rows_per_shard=10)
    os.remove(Path(first.shards[0].path).parent / "manifest.json")
    second = opened(tmp_path / "in", rows_per_shard=10)
    assert Path(second.shards[0].path).parent != Path(first.shards[0].path).parent
    assert uris_of(second) == uris_of(first)


def test_the_digest_is_of_files_and_columns(tmp_path: Path, opened: Callable[..., Manifest]) -> None:
    path = parquet(tmp_path / "m.parquet", {"uri": ["a.jpg"], "n": [1]})
    digest = opened(path).digest
    assert opened(path, uri_column="uri", limit=5).digest == digest
    assert opened(path, keep=("n",)).digest != digest
    assert opened(path, id_column="n").digest != digest
    copy = tmp_path / "copy/m.parquet"
    copy.parent.mkdir()
    shutil.copy2(path, copy)
    assert opened(copy).digest != digest, "relative paths mean other images there"
    os.utime(path, ns=(1, 1))
    assert opened(path).digest != digest


def test_a_parquet_manifest_replaced_while_it_is_read(tmp_path: Path, opened: Callable[..., Manifest]) -> None:
    path = parquet(tmp_path / "m.parquet", {"uri": ["s3://b/1"]})
    manifest = opened(path)
    parquet(path, {"uri": ["s3://b/2"]})
    with pytest.raises(SourceError, match="was replaced while"):
        rows_of(manifest)


@pytest.mark.parametrize(
    ("columns", "options", "message"),
    [
        ({"link": ["a"]}, {}, "no column uri, url, image_path; columns there: link"),
        ({"uri": ["a"]}, {"uri_column": "urj"}, "no column 'urj' .*did you mean 'uri'"),
        ({"uri": ["a"]}, {"id_column": "key"}, "no column 'key' \\(id_column\\); columns there: uri"),
        ({"uri": ["a"], "vector": [1]}, {"keep": ("vector",)}, "'vector' is a name of Pixlake's own"),
        ({"uri": ["a"], "seconds_of_day": [1]}, {"keep": ("seconds_of_day",)}, "'seconds_of_day' is a name of"),
        ({"uri": ["a"], "n": [1]}, {"keep": ("n", "n")}, "twice"),
        ({"uri": ["a"]}, {"keep": ("m",)}, "no column 'm' \\(keep\\)"),
        ({"uri": [1]}, {}, "column 'uri' is int64, not string"),
        ({"uri": ["a"], "k": [[1]]}, {"id_column": "k"}, "id_column 'k' is list"),
    ],
)
def test_columns_that_do_not_fit(
    tmp_path: Path, opened: Callable[..., Manifest], columns: dict[str, Any], options: dict[str, Any], message: str
) -> None:
    with pytest.raises(SourceError, match=message):
        opened(parquet(tmp_path / "m.parquet", columns), **options)


def test_files_that_differ(tmp_path: Path, opened: Callable[..., Manifest]) -> None:
    parquet(tmp_path / "p/a.parquet", {"uri": ["a"], "n": pa.array([1], pa.int64())})
    parquet(tmp_path / "p/b.parquet", {"uri": pa.array(["b"], pa.large_string()), "n": pa.array(["1"])})
    assert len(uris_of(opened(tmp_path / "p"))) == 2
    with pytest.raises(SourceError, match=r"column 'n' is int64 in .*a.parquet and string in .*b.parquet"):
        opened(tmp_path / "p", keep=("n",))
    write(tmp_path / "c/a.csv", "uri,n\nx,1\n")
    write(tmp_path / "c/b.csv", "url,n\nx,1\n")
    with pytest.raises(SourceError, match=r"b.csv: no column 'uri'"):
        opened(tmp_path / "c")


def test_a_place_in_a_folder_that_is_not_there_may_be_in_a_bucket(
    tmp_path: Path, opened: Callable[..., Manifest], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "here").mkdir()
    with pytest.raises(SourceError, match=r"; in a bucket write s3://bucket/m\.csv$"):
        opened("bucket/m.csv")
    for source in ("here/m.csv", "m.csv"):
        with pytest.raises(SourceError, match=r"the working folder is [^;]*$"):
            opened(source)


def test_a_server_that_is_not_reached_is_no_file_that_is_missing(opened: Callable[..., Manifest]) -> None:
    with pytest.raises(SourceError, match=r"^cannot read http://127\.0\.0\.1:1/m\.csv .*: Cannot connect to") as told:
        opened("http://user:hush@127.0.0.1:1/m.csv")
    assert not isinstance(told.value, SourceMissingError)
    assert "hush" not in str(told.value)


def test_places_with_nothing_to_read(tmp_path: Path, opened: Callable[..., Manifest]) -> None:
    write(tmp_path / "none/notes.md", "x")
    (tmp_path / "empty").mkdir()
    for source, message in [
        ("missing.csv", "no file or folder .*missing.csv"),
        ("none", "1 file.* none of which is an image, a tar or a manifest"),
        ("empty", "nothing there"),
        ("none/*.jpg", "nothing there"),
        ("gone/*.jpg", "no folder .*gone to match in"),
        ("none/notes.md", "none of which is an image, a tar or a manifest; a manifest ends in"),
    ]:
        with pytest.raises(SourceError, match=message):
            opened(tmp_path / source)
    with pytest.raises(SourceError, match="the web has no listing"):
        opened("https://user:hush@127.0.0.1:1/folder/?sig=hush2")
    with pytest.raises(SourceError, match="no header"):
        opened(write(tmp_path / "m.csv", ""))
    with pytest.raises(SourceError, match="not a whole Parquet file"):
        opened(write(tmp_path / "m.parquet", "PAR1"))
    with pytest.raises(SourceError, match="broken gzip"):
        opened(write(tmp_path / "m.txt.gz", "not gzip"))
    with pytest.raises(SourceError, match="uri_column is set, but a text manifest has no columns"):
        opened(write(tmp_path / "m.txt", "x"), uri_column="uri")


def test_memory_does_not_grow_with_rows(tmp_path: Path) -> None:
    script = (
        "import sys\n"
        "from operators.storage.stores import NO_OPTIONS\n"
        "from pipelines.manifests.manifest import SourceConfig\n"
        "from pipelines.manifests.open import open_manifest, open_source\n"
        "config = SourceConfig(uri=sys.argv[1])\n"
        "manifest = open_manifest(open_source(config, NO_OPTIONS), config, sys.argv[2])\n"
        # Not ru_maxrss: that survives exec, so the test's own peak would be in it.
        "peak = next(line.split()[1] for line in open('/proc/self/status') if line.startswith('VmHWM'))\n"
        "print(manifest.num_rows, int(peak) // 1024)\n"
    )
    peaks = []
    # Of the smaller one too as many parts are held at once as ever are, on a machine of up to eight cores.
    for count in (1_000_000, 2_200_000):
        path = write(tmp_path / f"{count}.txt", f"https://host/{'p' * 80}.jpg\n" * count)
        least = []
        # What threads hold at the same moment differs by up to 60 MiB from run to run, the least of three by 15.
        for work in ("first", "second", "third"):
            command = [sys.executable, "-c", script, str(path), str(tmp_path / f"{work}-{count}")]
            rows, peak = map(int, subprocess.check_output(command, text=True).split())
            assert rows == count
            least.append(peak)
        peaks.append(min(least))
    assert peaks[1] < peaks[0] + 40, f"MiB at 1,000,000 and 2,200,000 rows (100 and 220 MB of text): {peaks}"
