"""Tars as a source: a row for each image, where its bytes are, what is said of it, and what becomes of broken ones."""

import io
import shutil
import subprocess
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from made.manifests import manifest_of
from made.solid_images import png_of
from made.tars import make_tars, members_of, shard_of, write_beside, write_tar
from operators.storage.stores import NO_OPTIONS
from pipelines.manifests.manifest import Manifest, SourceConfig, SourceError
from pipelines.manifests.tars import samples
from pipelines.sources.source import Source
from pipelines.sources.work import shard_work

FORMATS = {"ustar": tarfile.USTAR_FORMAT, "gnu": tarfile.GNU_FORMAT, "pax": tarfile.PAX_FORMAT}


@pytest.fixture
def opened(tmp_path: Path) -> Callable[..., Manifest]:
    def open_it(uri: str | Path, **options: Any) -> Manifest:
        return manifest_of(SourceConfig(uri=str(uri), **options), NO_OPTIONS, str(tmp_path / "work"))

    return open_it


def rows_of(manifest: Manifest) -> list[dict[str, Any]]:
    source = Source(columns=manifest.columns)
    rows: list[dict[str, Any]] = []
    for shard in manifest.shards:
        work = shard_work(shard, shard.number, np.ones(shard.num_rows, bool))
        assert work is not None
        for table in source.read(work, 7):
            assert table.schema.equals(source.schema())
            rows += table.to_pylist()
    assert len(rows) == manifest.num_rows
    return rows


def bytes_of(row: dict[str, Any]) -> bytes:
    place = row["packed_in"]
    data = Path(place["uri"]).read_bytes()
    return data[place["offset"] : place["offset"] + place["size"]]


def test_each_image_of_every_tar_is_a_row_with_its_place(tmp_path: Path, opened: Callable[..., Manifest]) -> None:
    expected = make_tars(tmp_path / "in", 25, 10)
    manifest = opened(tmp_path / "in")
    rows = rows_of(manifest)
    assert [row["uri"] for row in rows] == [each.uri for each in expected]
    assert [bytes_of(row) for row in rows] == [png_of(number) for number in range(25)]
    assert {row["error_class"] for row in rows} == {None}
    assert manifest.notices == ()
    assert manifest.allowed_roots == (str(tmp_path / "in"),)


@pytest.mark.parametrize("place", ["in/*.tar", "in/00000.tar"])
def test_a_glob_or_one_tar_is_a_source(tmp_path: Path, opened: Callable[..., Manifest], place: str) -> None:
    make_tars(tmp_path / "in", 20, 10)
    assert opened(tmp_path / place).num_rows == (20 if "*" in place else 10)


def test_braces_as_webdataset_expands_them_are_answered_with_the_glob(
    tmp_path: Path, opened: Callable[..., Manifest]
) -> None:
    make_tars(tmp_path / "in", 20, 10)
    for braces in ("{00000..00001}", "{00000,00001}"):
        with pytest.raises(SourceError, match=r"braces are not expanded here: write \S+/in/\*\.tar;"):
            opened(tmp_path / f"in/{braces}.tar")


@pytest.mark.parametrize("kind", FORMATS)
def test_names_are_kept_whole_and_are_no_paths(tmp_path: Path, opened: Callable[..., Manifest], kind: str) -> None:
    long = f"{'d' * 90}/{'f' * 90}.png" if kind == "ustar" else f"{'d' * 300}/{'f' * 200}.png"
    names = [long, "./a b/ü.png", "../../etc/x.PNG", "/abs/y.png", "z.left.png"]
    write_tar(tmp_path / "in/a.tar", [(name, png_of(n)) for n, name in enumerate(names)], FORMATS[kind])
    rows = rows_of(opened(tmp_path / "in"))
    tar = f"{tmp_path}/in/a.tar"
    assert [row["uri"] for row in rows] == [f"{tar}#{name.removeprefix('./')}" for name in names]
    assert [bytes_of(row) for row in rows] == [png_of(number) for number in range(len(names))]


def test_only_files_that_are_images_by_their_names_are_rows(tmp_path: Path, opened: Callable[..., Manifest]) -> None:
    (tmp_path / "in").mkdir()
    with tarfile.open(tmp_path / "in/a.tar", "w") as tar:
        for name, kind in (("d.png", tarfile.DIRTYPE), ("p.png", tarfile.FIFOTYPE)):
            header = tarfile.TarInfo(name)
            header.type = kind
            tar.addfile(header)
        for name in ("._a.png", ".hidden/b.png", "c.seg", "good.png"):
            header = tarfile.TarInfo(name)
            header.size = 3
            tar.addfile(header, io.BytesIO(b"abc"))
    assert [row["uri"][-9:] for row in rows_of(opened(tmp_path / "in"))] == ["#good.png"]


def test_links_and_sparse_files_are_failures_that_say_so(tmp_path: Path, opened: Callable[..., Manifest]) -> None:
    files = tmp_path / "files"
    files.mkdir()
    (files / "a.png").write_bytes(png_of(1))
    (files / "b.png").hardlink_to(files / "a.png")
    (files / "c.png").symlink_to("a.png")
    with (files / "d.png").open("wb") as holes:
        holes.seek(1 << 20)
        holes.write(b"end")
    (tmp_path / "in").mkdir()
    subprocess.run(["tar", "-S", "-C", files, "-cf", tmp_path / "in/a.tar", *(f"{n}.png" for n in "abcd")], check=True)
    rows = rows_of(opened(tmp_path / "in"))
    assert [row["error_class"] for row in rows] == [None, "bad_uri", "bad_uri", "bad_uri"]
    assert ["a link within" in (row["error"] or "") for row in rows] == [False, True, True, False]
    assert "sparse" in rows[3]["error"]


@pytest.mark.parametrize("beside", [False, True])
def test_ids_and_kept_columns_are_joined_by_key(tmp_path: Path, opened: Callable[..., Manifest], beside: bool) -> None:
    make_tars(tmp_path / "in", 25, 10)
    if beside:
        for shard in range(3):
            numbers = range(10 * shard, min(10 * shard + 10, 25))
            write_beside(tmp_path / f"in/{shard:05d}.tar", numbers, failed=2)
    manifest = opened(tmp_path / "in", id_column="key", keep=("caption", "score"), rename={"score": "rating"})
    for number, row in enumerate(rows_of(manifest)):
        score = number / 2 if beside else str(number / 2)
        assert (row["id"], row["caption"], row["rating"]) == (f"{number:09d}", f"image {number}", score)
    assert [line[:7] for line in manifest.notices] == (["6 rows "] if beside else [])


def test_a_parquet_beside_some_tars_only_is_not_asked(tmp_path: Path, opened: Callable[..., Manifest]) -> None:
    make_tars(tmp_path / "in", 20, 10)
    write_beside(tmp_path / "in/00000.tar", range(10))
    rows = rows_of(opened(tmp_path / "in", keep=("score",)))
    assert [row["score"] for row in rows] == [str(number / 2) for number in range(20)]


def test_a_parquet_beside_is_found_for_one_tar_too(tmp_path: Path, opened: Callable[..., Manifest]) -> None:
    make_tars(tmp_path / "in", 10, 10)
    write_beside(tmp_path / "in/00000.tar", range(10))
    rows = rows_of(opened(tmp_path / "in/00000.tar", keep=("score",)))
    assert [row["score"] for row in rows] == [number / 2 for number in range(10)]


def test_text_members_are_columns_by_their_endings(tmp_path: Path, opened: Callable[..., Manifest]) -> None:
    members = [
        ("0.cls", b"7"),
        ("0.jpg", b"x"),
        ("0.mask.png", b"y"),
        ("1.jpg", b"z"),
        ("1.cls", b"\xff"),
        ("2.jpg", b"w"),
    ]
    write_tar(tmp_path / "in/a.tar", members)
    manifest = opened(tmp_path / "in", keep=("cls", "key"))
    assert [(row["cls"], row["key"]) for row in rows_of(manifest)] == [("7", "0"), ("7", "0"), (None, "1"), (None, "2")]
    assert manifest.notices[0].startswith("1 members with fields")


def test_members_come_in_any_order_and_with_any_ending(tmp_path: Path, opened: Callable[..., Manifest]) -> None:
    """All images first, then all texts, as `tar` packs what `ls *.jpg *.txt` lists; capitals as cameras write them."""
    images = [("b.JPG", b"1"), ("a.jpeg", b"2"), ("c/a.PNG", b"3"), ("d.Jpg", b"4")]
    texts = [("a.TXT", b"of a"), ("d.txt", b"of d"), ("c/a.txt", b"of c/a"), ("b.txt", b"of b")]
    write_tar(tmp_path / "in/a.tar", images + texts)
    write_tar(tmp_path / "in/b.tar", texts + images)
    manifest = opened(tmp_path / "in", keep=("key", "txt"))
    found = [(row["key"], row["txt"]) for row in rows_of(manifest)]
    assert found == 2 * [("b", "of b"), ("a", "of a"), ("c/a", "of c/a"), ("d", "of d")]
    assert manifest.notices == ()


def test_keys_are_those_of_the_webdataset_library(tmp_path: Path, opened: Callable[..., Manifest]) -> None:
    r"""webdataset 1.0.2 splits names by `^((?:.*/|)[^.]+)[.]([^/]*)$`, and calls the first group `__key__`."""
    keys = {"a.b.jpg": "a", "d.x/e.left.jpg": "d.x/e", "f-1_2 3.jpg": "f-1_2 3", "d.x/G.JPG": "d.x/G"}
    write_tar(tmp_path / "in/a.tar", [(name, b"x") for name in keys])
    assert [row["key"] for row in rows_of(opened(tmp_path / "in", keep=("key",)))] == list(keys.values())


def test_of_several_images_of_a_key_each_has_its_own_text_before_the_common_one(
    tmp_path: Path, opened: Callable[..., Manifest]
) -> None:
    members = [("a.left.jpg", b"x"), ("a.right.jpg", b"y"), ("a.left.txt", b"left"), ("a.txt", b"both")]
    members += [("a.right.json", b'{"side": "r"}'), ("a.json", b'{"side": "?", "by": "me"}')]
    write_tar(tmp_path / "in/a.tar", members)
    rows = rows_of(opened(tmp_path / "in", keep=("txt", "side", "by")))
    assert [(row["txt"], row["side"], row["by"]) for row in rows] == [("left", "?", "me"), ("both", "r", "me")]


def test_a_name_by_which_no_image_is_said_anything_is_refused(tmp_path: Path, opened: Callable[..., Manifest]) -> None:
    """As webdataset's writer names them: `0.input.jpg` has a text `outputs.txt`, and none called `txt`."""
    write_tar(tmp_path / "in/a.tar", [("0.input.jpg", b"x"), ("0.outputs.txt", b"a cat")])
    assert rows_of(opened(tmp_path / "in", keep=("outputs.txt",), rename={"outputs.txt": "txt"}))[0]["txt"] == "a cat"
    with pytest.raises(SourceError, match=r"no column 'txt' \(keep\); columns there: key, outputs\.txt"):
        opened(tmp_path / "in", keep=("txt",))


def test_fields_too_far_from_their_image_are_counted(
    tmp_path: Path, opened: Callable[..., Manifest], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(samples, "_HELD_BYTES", 5 * 512)
    images = [(f"{n}.jpg", b"x") for n in range(20)]
    write_tar(tmp_path / "in/a.tar", [*images, ("0.txt", b"far"), ("19.txt", b"near")])
    manifest = opened(tmp_path / "in", keep=("txt",))
    rows = rows_of(manifest)
    assert [row["uri"].partition("#")[2] for row in rows] == [name for name, _ in images]
    assert [row["txt"] for row in rows] == [None] * 19 + ["near"]
    assert manifest.notices[0].startswith("the fields of 1 images may lie too far from them")


def test_a_folder_and_its_tar_give_the_same_rows(tmp_path: Path, opened: Callable[..., Manifest]) -> None:
    """Packed by `tar` itself, with `./` before its names and folders among its members."""
    files = {"a.jpg": b"1", "a.txt": b"of a", "b.c.PNG": b"2", "b.c.txt": b"of b.c", "b.txt": b"of b", "d/e.jpeg": b"3"}
    files |= {"d/e.json": b'{"by": "me"}', "d.x.jpg": b"4", ".f.jpg": b"5", "notes.md": b"6", "d/é.webp": b"7"}
    for name, data in files.items():
        (tmp_path / "in" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "in" / name).write_bytes(data)
    packed = tmp_path / "packed/a.tar"
    packed.parent.mkdir()
    subprocess.run(["tar", "--sort=name", "-C", tmp_path / "in", "-cf", packed, "."], check=True)
    options: dict[str, Any] = {"id_column": "key", "keep": ("txt", "by"), "rename": {"txt": "caption"}}
    from_folder, from_tar = (rows_of(opened(tmp_path / place, **options)) for place in ("in", "packed"))
    columns = ("id", "caption", "by")
    said = sorted(tuple(row[name] for name in columns) for row in from_folder)
    assert said == sorted(tuple(row[name] for name in columns) for row in from_tar)
    assert said[:2] == [("a", "of a", None), ("b", "of b.c", None)]
    assert [bytes_of(row) for row in sorted(from_tar, key=lambda row: row["uri"].partition("#")[2])] == [
        Path(row["uri"]).read_bytes() for row in sorted(from_folder, key=lambda row: row["uri"])
    ]


def test_json_that_is_none_costs_the_fields_and_not_the_image(tmp_path: Path, opened: Callable[..., Manifest]) -> None:
    members = [*members_of(0), ("1.json", b"{"), ("1.png", png_of(1)), ("2.json", b"[]"), ("2.png", png_of(2))]
    write_tar(tmp_path / "in/a.tar", members)
    manifest = opened(tmp_path / "in", keep=("caption",))
    assert [row["caption"] for row in rows_of(manifest)] == ["image 0", None, None]
    assert manifest.notices[0].startswith("2 members with fields")


@pytest.mark.parametrize("value", [b"true", b"1.5", b"[1]", rb'"\ud800"'])
def test_a_field_that_is_no_id_costs_its_row_and_a_whole_number_is_one(
    tmp_path: Path, opened: Callable[..., Manifest], value: bytes
) -> None:
    numbers = (b"1e12", value, b"null")
    members = [(f"{at}.json", b'{"n": %b}' % number) for at, number in enumerate(numbers)]
    images = [(f"{at}.png", png_of(at)) for at in range(3)]
    write_tar(tmp_path / "in/a.tar", [each for pair in zip(members, images, strict=True) for each in pair])
    rows = rows_of(opened(tmp_path / "in", id_column="n", keep=("n",)))
    assert [row["error_class"] for row in rows] == [None, "bad_uri", None]
    assert "'1.png': id_column 'n' holds " in rows[1]["error"]
    assert rows[0]["id"] == "1000000000000"
    assert len(rows[2]["id"]) == 32, "made from the URI"


def test_ids_beside_a_tar_are_those_of_any_parquet_file(tmp_path: Path, opened: Callable[..., Manifest]) -> None:
    make_tars(tmp_path / "in", 2, 10)
    keys = [f"{number:09d}" for number in range(2)]
    beside = tmp_path / "in/00000.parquet"
    pq.write_table(pa.table({"key": keys, "n": [1e12, None], "flag": [True, False], "half": [0.5, 1.0]}), beside)
    first, second = rows_of(opened(tmp_path / "in", id_column="n"))
    assert (first["id"], len(second["id"])) == ("1000000000000", 32)
    with pytest.raises(SourceError, match=r"00000\.parquet: id_column 'flag' is bool; ids are"):
        opened(tmp_path / "in", id_column="flag")
    with pytest.raises(SourceError, match=r"00000\.parquet: id_column 'half' holds 0\.5, which is no whole number"):
        opened(tmp_path / "in", id_column="half")


def test_what_nobody_says_is_refused_with_what_there_is(tmp_path: Path, opened: Callable[..., Manifest]) -> None:
    make_tars(tmp_path / "in", 10, 10)
    with pytest.raises(SourceError, match=r"no column 'captio' \(keep\); columns there: key, txt, caption, score"):
        opened(tmp_path / "in", keep=("captio",))
    with pytest.raises(SourceError, match=r"source.keep=\[url\]"):
        opened(tmp_path / "in", uri_column="url")


def test_a_tar_that_is_cut_off_keeps_what_is_whole(tmp_path: Path, opened: Callable[..., Manifest]) -> None:
    whole = write_tar(tmp_path / "whole.tar", shard_of(range(10))).read_bytes()
    with tarfile.open(tmp_path / "whole.tar") as tar:
        places = [(header.offset, header.offset_data, header.size) for header in tar if header.name.endswith(".png")]
    (tmp_path / "in").mkdir()
    cut = tmp_path / "in/a.tar"
    header, first, size = places[6]
    for at, rows, failed in ((first + size - 1, 7, 1), (first + size, 7, 0), (header + 100, 6, 0), (header, 6, 0)):
        cut.write_bytes(whole[:at])
        manifest = opened(tmp_path / "in")
        found = rows_of(manifest)
        assert [row["error_class"] for row in found] == [None] * (rows - failed) + ["bad_uri"] * failed, at
        assert [bytes_of(row) for row in found[: rows - failed]] == [png_of(n) for n in range(rows - failed)]
        assert len(manifest.notices) == 1
        assert "/in/a.tar " in manifest.notices[0]


@pytest.mark.parametrize("what", ["empty", "no tar", "gzip", "broken header", "joined"])
def test_a_tar_that_is_none_is_named_and_the_others_are_read(
    tmp_path: Path, opened: Callable[..., Manifest], what: str
) -> None:
    make_tars(tmp_path / "in", 10, 10)
    data = write_tar(tmp_path / "b.tar", shard_of(range(10, 14))).read_bytes()
    with tarfile.open(tmp_path / "b.tar") as tar:
        third = [header.offset for header in tar if header.name.endswith(".png")][2]
    packed = tmp_path / "b.tgz"
    with tarfile.open(packed, "w:gz") as tar:
        tar.add(tmp_path / "b.tar", "x.png")
    contents = {
        "empty": (b"", 10, "is empty"),
        "no tar": (b"<html>" * 1000, 10, "is not a tar"),
        "gzip": (packed.read_bytes(), 10, "is not a tar"),
        "broken header": (data[:third] + b"x" * 512 + data[third + 512 :], 12, f"is broken at byte {third:,} of"),
        "joined": (data + data, 14, "what lies behind is not read"),
    }
    content, rows, said = contents[what]
    (tmp_path / "in/00001.tar").write_bytes(content)
    manifest = opened(tmp_path / "in")
    assert manifest.num_rows == rows
    assert said in manifest.notices[0]
    assert opened(tmp_path / "in").notices == manifest.notices


@pytest.mark.parametrize("what", ["size", "PAX header", "PAX size", "headers of headers"])
def test_headers_made_to_be_hard_end_their_tar(tmp_path: Path, opened: Callable[..., Manifest], what: str) -> None:
    """Each would have the standard library go round for ever, take all memory, or fail with a traceback."""
    hard = tarfile.TarInfo("hard.png")
    if what == "size":
        hard.size = -512
        block = hard.tobuf(tarfile.GNU_FORMAT)
    elif what == "PAX header":
        hard.type, hard.size = tarfile.XHDTYPE, 1 << 34
        block = hard.tobuf(tarfile.GNU_FORMAT)
    elif what == "PAX size":
        hard.pax_headers = {"size": "-1536"}
        block = hard.tobuf(tarfile.PAX_FORMAT)
    else:
        hard.type, hard.size = tarfile.XHDTYPE, 512
        block = (hard.tobuf(tarfile.USTAR_FORMAT) + b"\0" * 512) * 5000
    good = write_tar(tmp_path / "good.tar", shard_of(range(3))).read_bytes()
    end = len(good.rstrip(b"\0")) // 512 * 512 + 512
    (tmp_path / "in").mkdir()
    (tmp_path / "in/a.tar").write_bytes(good[:end] + block + good)
    manifest = opened(tmp_path / "in")
    assert manifest.num_rows == 3
    assert "is broken at byte" in manifest.notices[0]


def test_a_limit_reads_the_first_tars_only(tmp_path: Path, opened: Callable[..., Manifest]) -> None:
    expected = make_tars(tmp_path / "in", 60, 10)
    few = opened(tmp_path / "in", limit=12, rows_per_shard=10)
    assert (few.num_rows, few.complete) == (20, False)
    all_of_it = opened(tmp_path / "in", rows_per_shard=10)
    assert (all_of_it.num_rows, all_of_it.complete, all_of_it.digest) == (60, True, few.digest)
    assert [row["uri"] for row in rows_of(few)] == [each.uri for each in expected[:20]]


def test_a_source_is_read_once_while_its_tars_are_the_same(tmp_path: Path, opened: Callable[..., Manifest]) -> None:
    make_tars(tmp_path / "in", 20, 10)
    first = opened(tmp_path / "in")
    assert opened(tmp_path / "in").shards == first.shards
    shutil.copy(tmp_path / "in/00000.tar", tmp_path / "in/00002.tar")
    grown = opened(tmp_path / "in")
    assert (grown.num_rows, grown.digest == first.digest) == (30, False)
    assert opened(tmp_path / "in", keep=("txt",)).digest != grown.digest


def test_images_beside_tars_are_the_source_and_manifests_are_not(
    tmp_path: Path, opened: Callable[..., Manifest]
) -> None:
    make_tars(tmp_path / "in", 10, 10)
    (tmp_path / "in/list.csv").write_text("uri\na.png\n")
    assert opened(tmp_path / "in").num_rows == 10
    (tmp_path / "in/z.png").write_bytes(png_of(0))
    listed = opened(tmp_path / "in")
    assert listed.num_rows == 1
    assert any("00000.tar lies among images" in notice for notice in listed.notices)


def test_more_rows_than_a_shard_holds(tmp_path: Path, opened: Callable[..., Manifest]) -> None:
    write_tar(tmp_path / "in/a.tar", ((f"{number}.png", b"%d" % number) for number in range(9000)))
    manifest = opened(tmp_path / "in")
    assert [shard.num_rows for shard in manifest.shards] == [8192, 808]
    assert pq.read_metadata(manifest.shards[1].path).num_rows == 808
    assert [bytes_of(row) for row in rows_of(manifest)[::1000]] == [b"%d" % number for number in range(0, 9000, 1000)]


@pytest.mark.parametrize(
    ("first", "second", "kept"),
    [
        ({"key": ["0"], "c": pa.nulls(1)}, {"key": ["1"], "c": ["x"]}, [None, "x"]),
        ({"key": ["0"], "c": pa.nulls(1, pa.list_(pa.int8()))}, {"key": ["1"], "c": ["x"]}, [None, "x"]),
        ({"key": ["0"], "c": [3]}, {"key": ["1"], "c": [1.5]}, [3.0, 1.5]),
        ({"key": ["0"], "c": pa.array([3], pa.int32())}, {"key": ["1"], "c": [2**40]}, [3, 2**40]),
        ({}, {"key": ["1"], "c": ["x"]}, [None, "x"]),
        ({"key": ["0"], "c": ["x"]}, {}, ["x", None]),
    ],
)
def test_parquet_files_beside_tars_differ_as_other_parts_may(
    tmp_path: Path, opened: Callable[..., Manifest], first: dict[str, Any], second: dict[str, Any], kept: list[Any]
) -> None:
    """pandas writes a column of None without a type, integers with a null as floats, and nothing as no columns."""
    for number, table in enumerate((first, second)):
        write_tar(tmp_path / f"s/{number}.tar", [(f"{number}.png", png_of(number))])
        pq.write_table(pa.table(table), tmp_path / f"s/{number}.parquet")
    assert [row["c"] for row in rows_of(opened(tmp_path / "s", keep=("c",)))] == kept


def test_images_without_a_row_beside_their_tar_are_told(tmp_path: Path, opened: Callable[..., Manifest]) -> None:
    """Keys that were read as numbers, and written so, are not the members' names any more."""
    write_tar(tmp_path / "s/0.tar", [("000.png", png_of(0)), ("001.png", png_of(1))])
    pq.write_table(pa.table({"key": [0, 1], "c": ["a", "b"]}), tmp_path / "s/0.parquet")
    manifest = opened(tmp_path / "s", keep=("c",))
    assert [row["c"] for row in rows_of(manifest)] == [None, None]
    assert any("2 images have no row" in notice for notice in manifest.notices)
    assert opened(tmp_path / "s").notices == ()


def test_an_empty_tar_in_front_says_nothing_of_the_columns(tmp_path: Path, opened: Callable[..., Manifest]) -> None:
    write_tar(tmp_path / "s/0.tar", [])
    write_tar(tmp_path / "s/1.tar", [("a.png", png_of(0)), ("a.txt", b"x")])
    assert [row["txt"] for row in rows_of(opened(tmp_path / "s", keep=("txt",)))] == ["x"]
