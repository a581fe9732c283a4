"""Tables of every kind: audited clean as their jobs leave them, or told what of them is not checked."""

import json
import shutil
import tarfile
from pathlib import Path

import lance
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import s3fs
import yaml

from end_to_end.command import LOCAL, Ended, pixlake_here
from made.damage import Damaged
from made.noisy_photos import SQUASHED, NoisyPhotos
from made.photos import Photos
from made.refreshed import HERE, Lake, change_everything, picture
from servers.s3 import S3Server


def audit(table: str, *arguments: str) -> Ended:
    return pixlake_here("audit", table, "--json", *arguments)


def kinds(ended: Ended) -> list[str]:
    return [f"{each['kind']} {each['where']} {each['count']}" for each in ended.json["faults"]]


@pytest.fixture
def photos(tmp_path: Path) -> Photos:
    return Photos(tmp_path)


def embed(source: object, table: object, *arguments: str) -> Ended:
    return pixlake_here("embed", str(source), str(table), *LOCAL, "--set", "decode.isolate=false", *arguments)


def test_rows_beyond_a_limit_and_rows_that_are_elsewhere_are_not_missing(photos: Photos) -> None:
    first, second = photos.manifest(range(10)), photos.manifest(range(5, 20), "second.parquet")
    assert photos.embed(first, limit=8).status == "complete"
    assert photos.embed(second, skip_existing=True).status == "complete"
    ended = audit(photos.table)
    assert (ended.code, kinds(ended)) == (0, [])
    assert [(each["covered"], each["skipped"]) for each in ended.json["manifests"]] == [(8, 0), (15, 3)]


def test_an_unfinished_run_is_told_and_is_no_fault(photos: Photos) -> None:
    manifest = photos.manifest(range(10))
    assert photos.embed(manifest, limit=5).status == "complete"
    key = next(key for key in lance.dataset(f"{photos.table}.lance").metadata if key.startswith("pixlake.manifest."))
    for end in (".lance", "__failures.lance"):
        dataset = lance.dataset(photos.table + end)
        stored = json.loads(dataset.metadata[key]) | {"limit": None, "status": "running"}
        dataset.update_metadata({key: json.dumps(stored)})
    ended = audit(photos.table, "--repair")
    assert (ended.code, kinds(ended)) == (0, [])
    assert any("running; 5 rows left" in note for note in ended.json["notes"])
    assert [step["state"] for step in ended.json["repair"]] == ["by hand"]


def test_a_parquet_manifest_that_was_moved_is_found_where_it_is_now(photos: Photos) -> None:
    manifest = Path(photos.manifest(range(6)))
    assert photos.embed(str(manifest)).status == "complete"
    Damaged(photos.table).delete("id = 'i3'")
    moved = photos.folder / "elsewhere.parquet"
    manifest.rename(moved)
    lost = audit(photos.table)
    assert (lost.code, kinds(lost)) == (1, [])
    assert "--manifest" in lost.json["problems"][0]
    found = audit(photos.table, "--manifest", str(moved))
    assert (found.code, kinds(found)) == (3, [f"deleted {manifest} 1"])
    assert found.json["sample"]["compared"] == 5
    other = Path(photos.manifest(range(4), "other.parquet"))
    assert audit(photos.table, "--manifest", str(other)).code == 1


def test_a_text_manifest_needs_nothing_but_what_its_run_has_left(photos: Photos) -> None:
    photos.manifest(range(6))
    lines = photos.folder / "lines.txt"
    lines.write_text("".join(f"{number}.png\n" for number in range(6)) + "gone.png\n")
    assert embed(lines, photos.table).code == 0
    lines.unlink()
    ended = audit(photos.table)
    assert (ended.code, kinds(ended)) == (0, [])
    assert ended.json["sample"]["compared"] == 6


def test_a_refreshed_table_is_audited_but_for_its_missing_images(tmp_path: Path) -> None:
    lake = Lake(tmp_path)
    lake.source.mkdir()
    for number in range(6):
        picture(lake.source / f"{number:02}.png", number)
    (lake.source / "bad.png").write_text("no image")
    assert pixlake_here("embed", str(lake.source), lake.table, *HERE).code == 0
    change_everything(lake.source)
    assert lake.refresh("--max-deleted", "1").code == 0
    ended = audit(lake.table)
    assert (ended.code, kinds(ended)) == (0, [])
    assert (ended.json["refreshes"], ended.json["marked_deleted"]) == (1, 1)
    assert any("refresh" in note and "--dry-run" in note for note in ended.json["notes"])
    assert any(note.startswith("tagged versions (") for note in ended.json["notes"]), "a refresh gives each state a tag"
    assert ended.json["sample"]["compared"] == ended.json["sample"]["drawn"] > 0

    right = lake.rows(["vector"])["new.png"]
    table = Damaged(lake.table)
    dim = len(right["vector"])
    table.instead("uri LIKE '%/new.png'", vector=[dim**-0.5] * dim)
    assert kinds(audit(lake.table)) == ["wrong_vector vector 1"]
    repaired = audit(lake.table, "--repair", "--yes")
    assert (repaired.code, kinds(repaired)) == (0, []), repaired.out
    assert lake.rows(["vector"])["new.png"] == right


REGIONS = ("--set", "regions={kind: grid, rows: 2, columns: 2, whole: true}")


@pytest.mark.parametrize("layout", ["rows", "multivector"])
def test_regions(photos: Photos, layout: str) -> None:
    manifest = photos.manifest(range(6))
    arguments = (*REGIONS, "--set", f"regions.layout={layout}", "--set", "source.id_column=id")
    assert embed(manifest, photos.table, *arguments).code == 0
    ended = audit(photos.table)
    assert (ended.code, kinds(ended)) == (0, [])
    assert (ended.json["images"], ended.json["rows"]) == (6, 30 if layout == "rows" else 6)
    table = Damaged(photos.table)
    if layout == "rows":
        table.again("region_id = 'i1#2'")
        table.delete("region_id = 'i2#0'")
        table.delete("region_id = 'i3#4'")
        assert kinds(audit(photos.table)) == ["repeated vectors 1", "incomplete_regions vectors 1"]
    else:
        [row] = table.rows("id = 'i2'").to_pylist()
        table.instead("id = 'i2'", vector=row["vector"][:-1])
        assert kinds(audit(photos.table, "--sample", "0")) == ["no_vector vector 1"]
    repaired = audit(photos.table, "--repair", "--yes", "--restore")
    assert (repaired.code, kinds(repaired)) == (0, []), repaired.out


def test_an_image_that_lacks_regions_in_a_refreshed_table_is_had_whole(tmp_path: Path) -> None:
    """A refresh sees its version, which is that of before, and `pixlake embed` is refused there."""
    lake = Lake(tmp_path)
    lake.source.mkdir()
    for number in range(2):
        picture(lake.source / f"{number:02}.png", number)
    assert pixlake_here("embed", str(lake.source), lake.table, *HERE, *REGIONS).code == 0
    picture(lake.source / "02.png", 2)
    assert pixlake_here("refresh", lake.table).code == 0
    table = Damaged(lake.table)
    table.delete("region_id LIKE '%#1' AND uri LIKE '%/01.png'")
    picture(lake.source / "03.png", 3)
    [notice] = [each for each in pixlake_here("refresh", lake.table, "--json").json["notices"] if "lack" in each]
    assert "--repair --restore --yes" in notice
    planned = audit(lake.table, "--repair")
    assert any("--restore embeds them again" in each["what"] for each in planned.json["repair"])
    repaired = audit(lake.table, "--repair", "--yes", "--restore")
    assert (repaired.code, kinds(repaired)) == (0, []), repaired.out
    assert len(table.rows("true")) == 20


def test_a_source_that_has_changed_is_not_taken_for_another_manifest_by_a_repair(tmp_path: Path) -> None:
    """Five images more make another listing, which an embed job would embed whole."""
    lake = Lake(tmp_path)
    lake.source.mkdir()
    for number in range(2):
        picture(lake.source / f"{number:02}.png", number)
    assert pixlake_here("embed", str(lake.source), lake.table, *HERE).code == 0
    table = Damaged(lake.table)
    dim = len(next(iter(table.held().values())))
    table.instead("uri LIKE '%/01.png'", vector=[float("nan")] * dim)
    for number in range(2, 7):
        picture(lake.source / f"{number:02}.png", number)
    ended = audit(lake.table, "--repair", "--yes", "--sample", "0")
    assert (ended.code, kinds(ended)) == (3, ["bad_vector vector 1"])
    [step] = [each for each in ended.json["repair"] if each["state"] == "failed"]
    assert "has changed since" in step["what"]
    assert sorted(lake.rows(["id"])) == ["00.png", "01.png"]
    assert lake.failures() == {}


def test_tars_and_tables_in_a_bucket(s3: S3Server, tmp_path: Path) -> None:
    bucket, tar = s3.bucket("audit"), tmp_path / "a.tar"
    with tarfile.open(tar, "w") as out:
        for number in range(4):
            picture(tmp_path / f"{number}.png", number)
            out.add(tmp_path / f"{number}.png", f"{number}.png")
    settings = tmp_path / "settings.yaml"
    settings.write_text(yaml.safe_dump({"storage": s3.storage_options, "decode": {"isolate": False}}))
    table, own = f"s3://{bucket}/lake/t", ("--config", str(settings))
    assert pixlake_here("embed", str(tar), table, *LOCAL, *own).code == 0
    for each in tmp_path.glob("*.png"):
        each.unlink()
    ended = audit(table, *own)
    assert (ended.code, kinds(ended)) == (0, []), ended.json["problems"]
    assert ended.json["sample"]["compared"] == 4
    options = {"key": s3.key, "secret": s3.secret, "endpoint_url": s3.endpoint_url}
    files = s3fs.S3FileSystem(**options, client_kwargs={"region_name": s3.region})
    [data] = files.ls(f"{bucket}/lake/t.lance/data")
    files.rm(data)
    assert "file_missing vectors 1" in kinds(audit(table, *own))


def test_images_in_a_parquet_file_are_read_from_there(photos: Photos) -> None:
    photos.manifest(range(4))
    images = [(photos.folder / f"{number}.png").read_bytes() for number in range(4)]
    packed = photos.folder / "packed.parquet"
    pq.write_table(pa.table({"image": pa.array([{"bytes": each, "path": None} for each in images])}), packed)
    assert embed(packed, photos.table).code == 0
    ended = audit(photos.table)
    assert (ended.code, kinds(ended)) == (0, [])
    assert ended.json["sample"]["compared"] == 4


def test_ready_vectors_are_compared_with_their_files(photos: Photos) -> None:
    assert photos.embed(photos.manifest(range(6))).status == "complete"
    out = photos.folder / "out"
    assert pixlake_here("export", photos.table, str(out), "--format", "npy").code == 0
    table = str(photos.folder / "lake" / "taken")
    assert pixlake_here("embed", str(out), table, "--set", "cluster.executor=local").code == 0
    ended = audit(table)
    assert (ended.code, kinds(ended)) == (0, []), ended.json["problems"]
    assert ended.json["sample"]["compared"] == 6
    damaged = Damaged(table)
    dim = len(next(iter(damaged.held().values())))
    damaged.instead("id = 'i3'", vector=[dim**-0.5] * dim)
    assert kinds(audit(table)) == ["wrong_vector vector 1"]


def test_a_swap_in_the_middle_is_told_and_its_column_may_have_gaps(tmp_path: Path) -> None:
    noisy = NoisyPhotos(tmp_path).made(4)
    noisy.swap(SQUASHED, to="backfill")
    assert kinds(audit(noisy.table)) == []
    Damaged(noisy.table).instead("id = 'i2'", vector_next=None)
    ended = audit(noisy.table)
    assert (ended.code, kinds(ended), ended.json["swap"]) == (0, [], "filled")
    assert any("vector_next: 1 of 4 rows have nothing in it" in note for note in ended.json["notes"])


def test_a_configuration_that_is_gone_leaves_a_problem(photos: Photos) -> None:
    assert photos.embed(photos.manifest(range(4))).status == "complete"
    for folder in Path(f"{photos.table}__runs").iterdir():
        if (folder / "config.json").exists():
            shutil.rmtree(folder)
    ended = audit(photos.table)
    assert (ended.code, kinds(ended)) == (1, [])
    assert len(ended.json["problems"]) == 2


def test_no_table_and_a_table_of_another_maker_are_refused(tmp_path: Path) -> None:
    assert audit(f"{tmp_path}/lake/none").code == 2
    lance.write_dataset(pa.table({"a": [1]}), f"{tmp_path}/lake/other.lance")
    lance.write_dataset(pa.table({"a": [1]}), f"{tmp_path}/lake/other__failures.lance")
    assert audit(f"{tmp_path}/lake/other").code == 2
