"""Text of strangers (URIs, ids, columns, file names, what images say of themselves) cannot forge, colour, hide or flood
a line that is printed, or the reason that a failure stores."""

import unicodedata
from pathlib import Path

import lance
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image, PngImagePlugin

from end_to_end.command import LOCAL, Ended, pixlake_here
from made.solid_images import png_of

LONGEST = 512
HERE = (*LOCAL, "--set", "decode.isolate=false", "--max-failed", "1")
ODD = (
    "\x1b[31mred\x1b[0m",
    "\x1b]0;title\x07",
    "\x9b2J",
    "a\nforged: complete with 9 vectors",
    "a\r\nforged",
    "a\u2028forged",
    "\u202egnp.exe",
    "\u2066a\u2069",
    "\x00\x08\x7f",
    "\ufeffa\u200b",
    "a" * 1_000_000,
    "\x1b[31m" * 200_000,
)


def check_printed(ended: Ended) -> None:
    for stream in (ended.out, ended.err):
        for line in stream.split("\n"):
            assert len(line.encode()) <= LONGEST, line[:200]
            bad = {c for c in line if unicodedata.category(c) in ("Cc", "Cf", "Zl", "Zp", "Cs")}
            assert not bad, (bad, line[:200])
            assert not line.startswith("forged"), line
    assert "Traceback" not in ended.err


def check_stored(table: str) -> None:
    for error in lance.dataset(f"{table}__failures.lance").to_table(columns=["error"])["error"].to_pylist():
        assert len(error.encode()) <= LONGEST
        assert error.isprintable(), error


def read_back(table: str) -> None:
    """By every command that shows rows as text."""
    for arguments in (("failures", table, "--limit", "100"), ("describe", table), ("audit", table)):
        check_printed(pixlake_here(*arguments))
    ids = lance.dataset(f"{table}.lance").to_table(columns=["id"])["id"].to_pylist()
    check_printed(pixlake_here("search", table, "--id", next(each for each in ids if each), "-k", "30"))


def test_uris_ids_and_columns_of_a_manifest(tmp_path: Path) -> None:
    (tmp_path / "good.png").write_bytes(png_of(1))
    uris = [*(f"{odd}.png" for odd in ODD), *(f"http://127.0.0.1/{odd}" for odd in ODD), *ODD, *["good.png"] * len(ODD)]
    ids = [f"{number} {ODD[number % len(ODD)]}" for number in range(len(uris))]
    manifest, table = str(tmp_path / "m.parquet"), str(tmp_path / "lake" / "t")
    pq.write_table(pa.table({"uri": uris, "id": ids, "label": [ODD[n % len(ODD)] for n in range(len(uris))]}), manifest)
    ended = pixlake_here(
        "embed", manifest, table, *HERE, "--set", "source.id_column=id", "--set", "source.keep=[label]"
    )
    assert ended.code == 0, ended.err[-500:]
    check_printed(ended)
    check_stored(table)
    assert lance.dataset(f"{table}.lance").count_rows() == len(ODD)
    read_back(table)


@pytest.mark.parametrize("odd", [each for each in ODD if "\n" not in each and "\r" not in each and "\x00" not in each])
def test_headers_of_a_csv(tmp_path: Path, odd: str) -> None:
    (tmp_path / "m.csv").write_text(f"{odd},b\n1,2\n")
    check_printed(pixlake_here("embed", f"{tmp_path}/m.csv", f"{tmp_path}/lake/t", *HERE))
    check_printed(pixlake_here("embed", f"{tmp_path}/m.csv", f"{tmp_path}/lake/t", *HERE, "--set", f"{odd[:200]}=1"))


def test_names_of_files(tmp_path: Path) -> None:
    source, table = tmp_path / "source", str(tmp_path / "lake" / "t")
    source.mkdir()
    for number, odd in enumerate(each for each in ODD if len(each) < 100):
        name = odd.replace("/", "-").replace("\x00", "")
        (source / f"{number}{name}.png").write_bytes(png_of(number))
        (source / f"bad {number}{name}.png").write_text("no image")
        (source / f"other {number}{name}.csv").write_text("uri\n")
    ended = pixlake_here("embed", str(source), table, *HERE)
    assert ended.code == 0, ended.err[-500:]
    check_printed(ended)
    check_stored(table)
    read_back(table)


def test_what_images_say_of_themselves(tmp_path: Path) -> None:
    """A megabyte of EXIF, texts in chunks, and a decoder's message about bytes that are text."""
    source, table = tmp_path / "source", str(tmp_path / "lake" / "t")
    source.mkdir()
    picture = Image.fromarray(np.full((8, 8, 3), 90, np.uint8))
    exif = Image.Exif()
    exif[0x010E] = "\x1b[31m" * 12_000
    picture.save(source / "exif.jpg", exif=exif)
    texts = PngImagePlugin.PngInfo()
    texts.add_text("Comment\x1b[2J", "\x1b[31m" * 200_000)
    picture.save(source / "texts.png", pnginfo=texts)
    whole = png_of(1)
    for number, odd in enumerate(ODD):
        (source / f"{number}.png").write_bytes(whole[:37] + odd.encode())
        (source / f"{number}.jpg").write_bytes(b"\xff\xd8\xff\xe1" + odd.encode())
    ended = pixlake_here("embed", str(source), table, *HERE, "--json")
    assert ended.code == 0, ended.err[-500:]
    assert ended.json["failures"] == 2 * len(ODD)
    check_stored(table)
    read_back(table)
