"""Images within tars and Parquet files are found again by the positions of their rows; what lies there now is held
against what the table says."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import obstore
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from made.parquet_images import write_images
from made.solid_images import colour_of
from made.tars import make_tars
from operators.base.columns import ERROR, ERROR_CLASS, IMAGE_BYTES, PACKED_IN, URI
from operators.decode import DecodeOptions
from operators.fetching.options import FetchOptions
from operators.storage.stores import NO_OPTIONS, StorageOptions, object_store
from pipelines.ledger.entries import ManifestEntry
from pipelines.manifests.manifest import SourceConfig
from pipelines.manifests.open import open_manifest, open_source
from pipelines.manifests.vectors.folder import VectorFolder
from pipelines.pictures.make import PictureMaker
from pipelines.reread import packed
from pipelines.reread.kept import KeptRows
from pipelines.reread.manifests import OpenedManifest
from pipelines.reread.packed import PackedRows

FIRST_SHARD = 7


class Opening:
    """Opens the one manifest of a folder, and counts how often."""

    def __init__(self, folder: Path | str, work: Path, storage: StorageOptions = NO_OPTIONS) -> None:
        source = SourceConfig(uri=str(folder))
        files = open_source(source, storage)
        assert not isinstance(files, VectorFolder)
        self.manifest = open_manifest(files, source, str(work))
        self.times = 0

    def __call__(self, entry: ManifestEntry) -> OpenedManifest:
        self.times += 1
        return OpenedManifest(entry=entry, manifest=self.manifest)

    def entry(self) -> ManifestEntry:
        return ManifestEntry(
            digest=self.manifest.digest,
            source=self.manifest.uri,
            first_shard=FIRST_SHARD,
            num_shards=len(self.manifest.shards),
            rows=self.manifest.num_rows,
            whole=True,
            limit=None,
            run_id="20261130T000000Z-aaaaaa",
            status="complete",
        )

    def places(self, uris: list[str]) -> pa.Table:
        """As the table has them: row `n` of the source is that of `uris[n]`."""
        shards, rows = [], []
        for number in range(len(uris)):
            shard = next(each for each in self.manifest.shards if number < each.first_row + each.num_rows)
            shards.append(FIRST_SHARD + shard.number)
            rows.append(number - shard.first_row)
        return pa.table({"uri": uris, "shard": pa.array(shards, pa.int32()), "row": pa.array(rows, pa.int32())})


@pytest.fixture(scope="module")
def maker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PictureMaker]:
    made = PictureMaker(FetchOptions(allowed_roots=(str(tmp_path_factory.getbasetemp()),)), DecodeOptions())
    yield made
    made.close()


@pytest.mark.parametrize("kind", ["tars", "parquet"])
def test_each_row_gives_its_own_image(tmp_path: Path, maker: PictureMaker, kind: str) -> None:
    folder = tmp_path / "images"
    if kind == "tars":
        expected = make_tars(folder, 60, 25)
    else:
        expected = write_images(folder / "a.parquet", range(45)) + write_images(folder / "b.parquet", range(45, 60))
    opening = Opening(folder, tmp_path / "work")
    asked = opening.places([each.uri for each in expected]).take(pa.array([59, 3, 31, 24, 25, 0, 44]))
    found = {
        uri: picture
        for batch in PackedRows(opening, NO_OPTIONS).rows(asked, [opening.entry()])
        for uri, picture in zip(batch[URI.name].to_pylist(), maker.make(batch, 16), strict=True)
    }
    numbers = {each.uri: each.number for each in expected}
    assert set(found) == set(asked["uri"].to_pylist())
    for uri, picture in found.items():
        assert isinstance(picture, Image.Image), picture
        assert np.allclose(np.asarray(picture).mean((0, 1)), colour_of(numbers[uri]), atol=2), uri
    assert opening.times == 1


@pytest.mark.s3
def test_in_a_bucket_they_are_read_there(tmp_path: Path, s3: Any) -> None:
    bucket, storage = f"s3://{s3.bucket('packed')}", StorageOptions.model_validate(s3.storage_options)
    expected = make_tars(tmp_path, 12, 6, root=f"{bucket}/tars")
    parquet = write_images(tmp_path / "a.parquet", range(12), group_rows=5, root=f"{bucket}/parquet")
    for name in ("tars/00000.tar", "tars/00001.tar", "parquet/a.parquet"):
        store, key = object_store(f"{bucket}/{name}", storage)
        obstore.put(store, key, (tmp_path / name.rpartition("/")[2]).read_bytes())
    maker = PictureMaker(FetchOptions(storage=storage), DecodeOptions())
    for folder, rows in (("tars", expected), ("parquet", parquet)):
        opening = Opening(f"{bucket}/{folder}", tmp_path / "work", storage)
        asked = opening.places([each.uri for each in rows])
        found: dict[str, object] = {}
        for batch in PackedRows(opening, storage).rows(asked.take(pa.array([11, 4, 5])), [opening.entry()]):
            found |= dict(zip(batch[URI.name].to_pylist(), maker.make(batch, 16), strict=True))
        for number in (11, 4, 5):
            picture = found[rows[number].uri]
            assert isinstance(picture, Image.Image), picture
            assert np.allclose(np.asarray(picture).mean((0, 1)), colour_of(number), atol=2)
    maker.close()


def test_neighbours_are_read_once_and_no_more_is_kept_than_may_be(tmp_path: Path, maker: PictureMaker) -> None:
    folder = tmp_path / "images"
    expected = write_images(folder / "a.parquet", range(90), group_rows=40)
    opening = Opening(folder, tmp_path / "work")
    places, entries = opening.places([each.uri for each in expected]), [opening.entry()]
    reads: list[int] = []

    class Counted(PackedRows):
        def around(self, key: int, entries: object) -> Iterator[pa.Table]:
            reads.append(key)
            return super().around(key, entries)  # type: ignore[arg-type]

    kept = KeptRows(Counted(opening, NO_OPTIONS), 1 << 20)
    for number in (3, 5, 38, 2, 41, 63, 64, 89):
        place = places.slice(number, 1).to_pylist()[0]
        row = kept.row(place["uri"], (place["shard"] << 32) | place["row"], entries)
        assert row[URI.name].to_pylist() == [place["uri"]]
        [picture] = maker.make(row, 16)
        assert isinstance(picture, Image.Image)
        assert np.allclose(np.asarray(picture).mean((0, 1)), colour_of(number), atol=2)
    # Of 64 rows each, whatever the row groups.
    assert [key & 0xFFFFFFFF for key in reads] == [3, 64]
    small = KeptRows(Counted(opening, NO_OPTIONS), 1)
    row = small.row(expected[3].uri, (FIRST_SHARD << 32) | 3, entries)
    assert row[IMAGE_BYTES.name][0].is_valid
    assert not small._rows
    loose = small.row("s3://bucket/cat.jpg", 0, entries)
    assert loose[URI.name].to_pylist() == ["s3://bucket/cat.jpg"]
    assert not {IMAGE_BYTES.name, PACKED_IN.name} & set(loose.column_names)


def test_another_image_in_its_place_is_none(tmp_path: Path) -> None:
    folder = tmp_path / "images"
    expected = write_images(folder / "a.parquet", range(20))
    opening = Opening(folder, tmp_path / "work")
    asked = opening.places([each.uri for each in expected]).slice(0, 2)
    asked = asked.set_column(0, "uri", pa.array([expected[0].uri, expected[5].uri]))
    assert _failures(PackedRows(opening, NO_OPTIONS), asked, opening) == {expected[5].uri: "source_changed"}
    # Written again since: positions may not hold.
    pq.write_table(pq.read_table(folder / "a.parquet").slice(1), folder / "a.parquet")
    told = _failures(PackedRows(opening, NO_OPTIONS), asked, opening)
    assert told == {expected[0].uri: "source_changed", expected[5].uri: "source_changed"}


def test_what_cannot_be_opened_says_why_and_large_row_groups_are_not_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "images"
    expected = write_images(folder / "a.parquet", range(20))
    opening = Opening(folder, tmp_path / "work")
    asked = opening.places([each.uri for each in expected]).slice(4, 1)
    closed = PackedRows(lambda entry: OpenedManifest(entry=entry, why_not="the folder is away"), NO_OPTIONS)
    [batch] = closed.rows(asked, [opening.entry()])
    assert batch[ERROR_CLASS.name].to_pylist() == ["not_found"]
    assert "the folder is away" in batch[ERROR.name][0].as_py()
    # No manifest of the table has the row: it is asked for by its URI.
    [batch] = closed.rows(asked, [])
    assert batch[ERROR_CLASS.name].to_pylist() == [None]
    monkeypatch.setattr(packed, "MOST_GROUP_BYTES", 100)
    [batch] = PackedRows(opening, NO_OPTIONS).rows(asked, [opening.entry()])
    assert "smaller row groups" in batch[ERROR.name][0].as_py()


def _failures(rows: PackedRows, asked: pa.Table, opening: Opening) -> dict[str, str]:
    found = pa.concat_tables(
        [batch.select([URI.name, ERROR_CLASS.name]) for batch in rows.rows(asked, [opening.entry()])]
    )
    kinds = zip(found[URI.name].to_pylist(), found[ERROR_CLASS.name].to_pylist(), strict=True)
    return {uri: kind for uri, kind in kinds if kind is not None}
