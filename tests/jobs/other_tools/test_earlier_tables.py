"""Tables that earlier releases made, in the middle of their manifest: today's commands work on them, or refuse and say
why. `earlier_release/make_tables.py` made the archives, each by the commit whose name it has."""

import tarfile
from pathlib import Path
from typing import Any, NamedTuple

import lance
import pyarrow.parquet as pq
import pytest

from end_to_end.command import Ended, embed_here, pixlake_here
from made.earlier_source import CUT, LIMIT, MISSING, ROWS, SOURCE, put_source
from made.solid_images import png_of

pytestmark = pytest.mark.s3

LOCAL = "--set=cluster.executor=local"
SETS = ("source.id_column=key", "source.keep=[label]", "source.rows_per_shard=4")
DONE = [number for number in range(LIMIT) if number not in (MISSING, CUT)]


class Release(NamedTuple):
    commit: str
    what: str
    goes_on: bool
    """Its tables can be embedded into: it made the same pixels."""
    derives: bool = True
    has_record: bool = True
    """What it recorded of its models can be read."""


RELEASES = (
    Release("82de5a2c", "2026-11-23, of the first tables", goes_on=False, derives=False, has_record=False),
    Release("8ad927ca", "2026-11-23, with canaries", goes_on=False, derives=False),
    Release("4eb66312", "2026-11-26, with derived columns", goes_on=False),
    Release("4df2a612", "2026-11-28, without stable row ids, its mark out of the schema", goes_on=False),
    Release("d7ac3cfa", "2026-11-29, whose failures say no version of their source", goes_on=True),
)


@pytest.fixture(scope="module")
def source(s3: Any) -> str:
    put_source(s3)
    return SOURCE


@pytest.fixture(params=RELEASES, ids=lambda release: f"{release.commit} {release.what}")
def release(request: pytest.FixtureRequest) -> Release:
    given: Release = request.param
    return given


@pytest.fixture
def table(release: Release, tmp_path: Path) -> str:
    with tarfile.open(Path(__file__).parent / "earlier_release" / f"{release.commit}.tar.xz") as archive:
        archive.extractall(tmp_path, filter="data")
    return str(tmp_path / "lake" / "photos")


def embedded(source: str, table: str, *arguments: str) -> Ended:
    return embed_here(source, table, *(f"--set={each}" for each in SETS), *arguments)


def test_it_is_read(release: Release, table: str, tmp_path: Path) -> None:
    found = pixlake_here("search", table, "--id", "image-0", "-k", "9", "--json").json["results"]
    assert {row["id"] for row in found} == {f"image-{number}" for number in DONE}
    assert found[0]["id"] == "image-0"
    failed = pixlake_here("failures", table, "--json").json["rows"]
    assert {row["id"] for row in failed} == {f"image-{MISSING}", f"image-{CUT}"}
    assert pixlake_here("export", table, str(tmp_path / "out"), LOCAL).code == 0
    out = pq.read_table(tmp_path / "out").to_pydict()
    assert sorted(zip(out["id"], out["label"], strict=True)) == [(f"image-{n}", f"label {n}") for n in DONE]
    described = pixlake_here("describe", table)
    if release.has_record:
        assert described.code == 0
        assert "4 vectors, 2 failures" in described.out
        assert ("codes of vector: binary" in described.out) == release.derives
    else:
        assert_first_day(described)


def test_an_image_finds_itself(release: Release, table: str, tmp_path: Path) -> None:
    (tmp_path / "3.png").write_bytes(png_of(3))
    for column in ("vector", "codes") if release.derives else ("vector",):
        ended = pixlake_here("search", table, "--image", str(tmp_path / "3.png"), "-k", "1", "--column", column)
        if release.has_record:
            assert "image-3" in ended.out
        else:
            assert_first_day(ended)


def test_its_manifest_is_known_and_goes_on_or_the_reason_is_said(
    release: Release, table: str, source: str, s3: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in s3.environment.items():
        monkeypatch.setenv(name, value)
    versions = [lance.dataset(f"{table}{end}.lance").version for end in ("", "__failures")]
    ended = embedded(source, table)
    if release.goes_on:
        assert (ended.code, "8 vectors and 2 failures of 10 rows" in ended.out) == (0, True)
        assert "this run: 4 vectors and 0 failures" in ended.out, "of those that were not done"
        rows = lance.dataset(f"{table}.lance").to_table(columns=["id", "codes"]).to_pydict()
        assert sorted(rows["id"]) == sorted(f"image-{n}" for n in range(ROWS) if n not in (MISSING, CUT))
        assert None not in rows["codes"]
        assert "0 vectors and 2 failures" in embedded(source, table, "--retry-failed").out
        assert pixlake_here("audit", table, LOCAL).code == 0
        return
    assert ended.code == 2
    if release.has_record:
        assert "decode.decoder: the table has 1, this run has 2" in ended.err
        assert "use the table's own release, or embed into another table" in ended.err
    else:
        assert_first_day(ended)
    assert versions == [lance.dataset(f"{table}{end}.lance").version for end in ("", "__failures")], "nothing written"


def test_it_is_copied_cut_and_shortened(release: Release, table: str) -> None:
    copied = pixlake_here("rewrite", table, f"{table}2")
    assert (copied.code, "4 rows, 2 failures" in copied.out) == (0, True)
    assert not lance.dataset(f"{table}2.lance").has_stable_row_ids
    deleted = pixlake_here("delete", table, "--id", "image-3")
    reduced = pixlake_here("reduce", table, "small", "--quantize", "int8", LOCAL)
    if release.has_record:
        assert deleted.code == 0
        assert lance.dataset(f"{table}.lance").count_rows("id = 'image-3'") == 0
        assert (reduced.code, "3 filled now" in reduced.out) == (0, True)
    else:
        assert_first_day(deleted)
        assert_first_day(reduced)


def assert_first_day(ended: Ended) -> None:
    """The tables of the first day lack what decides whether two networks are one."""
    assert ended.code == 2
    assert "written by another release of Pixlake, or damaged (network: Field required)" in ended.err
    assert "embed into another one" in ended.err
