"""A table to npy files and back: the same vectors bit for bit, in the same space; also on S3, and killed on the way."""

import json
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lance
import numpy as np
import obstore
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from obstore.store import S3Store

from end_to_end.command import LOCAL, end, pixlake_here, start
from made.solid_images import png_of
from operators.base.arrays import vector_field, vectors_from_numpy
from operators.models.load import describe
from operators.models.spec import parse_model_name
from pipelines.space.field import with_space

HERE = ("--set", "cluster.executor=local")
PHOTOS = 23


def make_table(folder: Path) -> str:
    """Embedded with the null model: photographs, and two files that are none."""
    (folder / "photos").mkdir()
    for number in range(PHOTOS):
        (folder / "photos" / f"{number}.png").write_bytes(png_of(number))
    (folder / "photos" / "x.png").write_text("no image")
    uris = [f"photos/{n}.png" for n in (*range(PHOTOS), "x", "missing")]
    columns = {"key": [f"key {n}" for n in range(len(uris))], "uri": uris, "rating": [n / 2 for n in range(len(uris))]}
    pq.write_table(pa.table(columns), folder / "list.parquet")
    table = f"{folder}/lake/photos"
    settings = ("--set", "source.id_column=key", "--set", "source.keep=[rating]", "--set", "decode.isolate=false")
    ended = pixlake_here("embed", f"{folder}/list.parquet", table, *LOCAL, *settings)
    assert ended.code == 0, ended.err
    return table


def rows_by_id(table: str, options: dict[str, str] | None = None) -> pa.Table:
    return lance.dataset(f"{table}.lance", storage_options=options).to_table().sort_by("id").combine_chunks()


def assert_same(first: pa.Table, second: pa.Table) -> None:
    """All but the positions, which are another manifest's; the vectors bit for bit, and all that is known of them."""
    assert first.schema.field("vector").equals(second.schema.field("vector"), check_metadata=True)
    for name in set(first.column_names) - {"shard", "row"}:
        assert first[name].equals(second[name]), name


def test_a_table_exported_and_taken_in_again_is_the_same_table(tmp_path: Path) -> None:
    table, out, again = make_table(tmp_path), f"{tmp_path}/out", f"{tmp_path}/lake/again"
    exported = pixlake_here("export", table, out, "--format", "npy", "--rows-per-file", "10", "--json")
    assert (exported.code, exported.json["rows"], exported.json["files"]) == (0, PHOTOS, 3), exported.err
    settings = ("--set", "source.keep=[rating]", *HERE)
    shown = pixlake_here("embed", out, again, *settings, "--dry-run")
    assert "holds ready vectors: no image is fetched, decoded or embedded" in shown.out
    assert "stage    take_vectors: normalize" in shown.out
    part = pixlake_here("embed", out, again, *settings, "--limit", "12", "--json")
    assert (part.code, part.json["vectors"]) == (0, 12), part.err
    ended = pixlake_here("embed", out, again, *settings, "--json")
    counts = [ended.json[name] for name in ("status", "vectors", "failures", "embedded_now")]
    assert counts == ["complete", PHOTOS, 0, PHOTOS - 12]
    assert_same(rows_by_id(table), rows_by_id(again))
    assert pixlake_here("embed", out, again, *settings, "--json").json["embedded_now"] == 0
    found = pixlake_here("search", again, "--image", f"{tmp_path}/photos/7.png", "-k", "1", "--json")
    [best] = found.json["results"]
    assert (best["id"], best["score"]) == ("key 7", pytest.approx(1, abs=2e-3))
    more = pixlake_here("embed", f"{tmp_path}/photos", again, *LOCAL, "--set", "decode.isolate=false", "--json")
    assert (more.code, more.json["vectors"]) == (0, PHOTOS), "the space is the model's own: it can be added to"


def test_what_a_table_derives_is_made_of_vectors_that_are_taken_in_too(tmp_path: Path) -> None:
    table, out, other = make_table(tmp_path), f"{tmp_path}/out", f"{tmp_path}/lake/other"
    assert pixlake_here("export", table, out, "--format", "npy").code == 0
    reducing = ("--set", "reduce.vector_48={truncate_dim: 48, allow_untrained_truncation: true, quantize: float32}")
    first = pixlake_here("embed", f"{tmp_path}/photos/3.png", other, *LOCAL, "--set", "decode.isolate=false", *reducing)
    assert first.code == 0, first.err
    refused = pixlake_here("embed", out, other, *HERE, *reducing)
    assert (refused.code, "derive columns with `pixlake reduce" in refused.err) == (2, True)
    taken = pixlake_here("embed", out, other, *HERE, "--json")
    assert (taken.code, taken.json["vectors"]) == (0, PHOTOS), taken.err
    rows = lance.dataset(f"{other}.lance").to_table()
    vectors, derived = (np.array(rows[name].to_pylist(), "f4") for name in ("vector", "vector_48"))
    assert derived.shape == (PHOTOS + 1, 48)
    expected = vectors[:, :48] / np.linalg.norm(vectors[:, :48], axis=1, keepdims=True)
    assert np.allclose(derived, expected, atol=1e-5)


def test_a_row_per_region_is_a_vector_of_its_own_and_never_goes_into_a_table_of_regions(tmp_path: Path) -> None:
    make_table(tmp_path)
    table, out, again = f"{tmp_path}/lake/regions", f"{tmp_path}/out", f"{tmp_path}/lake/again"
    regions = ("--set", "regions={kind: grid, rows: 1, columns: 2}", "--set", "decode.isolate=false", "--limit", "5")
    made = pixlake_here("embed", f"{tmp_path}/photos", table, *LOCAL, *regions)
    assert made.code == 0, made.err
    there = lance.dataset(f"{table}.lance").to_table()
    assert pixlake_here("export", table, out, "--format", "npy").code == 0
    refused = pixlake_here("embed", out, table, *HERE)
    assert (refused.code, "keeps the regions of images" in refused.err) == (2, True), refused.err
    taken = pixlake_here("embed", out, again, *HERE, "--json")
    assert (taken.code, taken.json["vectors"]) == (0, there.num_rows), taken.err
    rows = lance.dataset(f"{again}.lance").to_table()
    vectors = dict(zip(there["region_id"].to_pylist(), there["vector"].to_pylist(), strict=True))
    assert dict(zip(rows["id"].to_pylist(), rows["vector"].to_pylist(), strict=True)) == vectors


def made_elsewhere(folder: Path, rows: list[int], dim: int = 6) -> str:
    """As clip-retrieval writes it; the vectors of rows 3 and 4 of the first file are none."""
    (folder / "img_emb").mkdir(parents=True)
    (folder / "metadata").mkdir()
    for number, count in enumerate(rows):
        vectors = np.random.default_rng(number).normal(size=(count, dim)).astype("f2")
        if not number:
            vectors[3, 1], vectors[4] = np.nan, 0
        np.save(folder / "img_emb" / f"img_emb_{number}.npy", vectors)
        paths = [f"/photos/{number}-{row}.jpg" for row in range(count)]
        pq.write_table(pa.table({"image_path": paths}), folder / "metadata" / f"metadata_{number}.parquet")
    return str(folder)


def test_vectors_of_another_tool_are_rows_or_failures_of_a_space_that_the_user_names(tmp_path: Path) -> None:
    source, table = made_elsewhere(tmp_path / "clip", [6, 9]), f"{tmp_path}/lake/clip"
    nameless = pixlake_here("embed", source, table, *HERE)
    assert nameless.code == 2
    assert "does not say which model made them; name it with --set source.vectors.model=" in nameless.err
    named = ("--set", "source.vectors.model=OpenAI CLIP L/14", *HERE)
    ended = pixlake_here("embed", source, table, *named, "--json")
    assert (ended.code, ended.json["vectors"], ended.json["failures"]) == (0, 13, 2), ended.err
    rows = lance.dataset(f"{table}.lance").to_table()
    for row in rows.to_pylist():
        number, index = map(int, row["uri"].removeprefix("/photos/").removesuffix(".jpg").split("-"))
        assert (row["shard"], row["row"]) == (number, index)
        vector = np.load(f"{source}/img_emb/img_emb_{number}.npy")[index].astype("f8")
        assert np.allclose(row["vector"], vector / np.linalg.norm(vector), atol=1e-3)
    failures = lance.dataset(f"{table}__failures.lance").to_table().sort_by("row").to_pylist()
    assert [(f["row"], f["stage"], f["error_class"]) for f in failures] == [
        (3, "normalize", "bad_vector"),
        (4, "normalize", "bad_vector"),
    ]
    first = rows["id"][0].as_py()
    assert pixlake_here("search", table, "--id", first, "-k", "1", "--json").json["results"][0]["id"] == first
    for query in (("--text", "a cat"), ("--image", f"{source}/x.jpg")):
        refused = pixlake_here("search", table, *query)
        assert refused.code == 2
        assert "imported as those of 'OpenAI CLIP L/14', which Pixlake does not compute" in refused.err


OTHERS: dict[str, tuple[tuple[str, ...], str]] = {
    "another label": (
        ("--set", "source.vectors.model=other"),
        'embed.model: the table has "label", this run has "oth',
    ),
    "other weights": (
        ("--set", "source.vectors.model=label", "--set", f"source.vectors.weights_sha256={'ab' * 32}"),
        "embed.weights_sha256: the table has null",
    ),
    "not normalized": (
        ("--set", "source.vectors.model=label", "--set", "normalize.l2=false"),
        "normalize.l2: the table has true",
    ),
    "a model": (("--set", "source.vectors.model=label", "--model", "null"), "ready vectors, which no model embeds"),
}


def test_vectors_of_two_spaces_are_never_mixed(tmp_path: Path) -> None:
    table = f"{tmp_path}/lake/clip"
    first, second = made_elsewhere(tmp_path / "a", [5]), made_elsewhere(tmp_path / "b", [8])
    assert pixlake_here("embed", first, table, *HERE, "--set", "source.vectors.model=label").code == 0
    for settings, says in OTHERS.values():
        refused = pixlake_here("embed", second, table, *HERE, *settings)
        assert refused.code == 2
        assert says in refused.err
    wider = made_elsewhere(tmp_path / "c", [5], dim=7)
    refused = pixlake_here("embed", wider, table, *HERE, "--set", "source.vectors.model=label")
    assert (refused.code, "embed.dim: the table has 6, this run has 7" in refused.err) == (2, True)
    added = pixlake_here("embed", second, table, *HERE, "--set", "source.vectors.model=label", "--json")
    assert (added.code, added.json["vectors"], added.json["failures"]) == (0, 6, 2)


def test_what_an_export_says_of_its_vectors_is_believed_alone_and_only_if_it_fits(tmp_path: Path) -> None:
    table, out, record_file = made_with_vectors(tmp_path, 30), tmp_path / "out", tmp_path / "out.export.json"
    assert pixlake_here("export", table, str(out), "--format", "npy", "--rows-per-file", "10").code == 0
    both = pixlake_here("embed", str(out), f"{tmp_path}/lake/x", *HERE, "--set", "source.vectors.model=m")
    assert "leave source.vectors out" in both.err
    record = json.loads(record_file.read_text())
    spoiled: dict[str, tuple[Callable[[dict[str, Any]], Any], str]] = {
        "dim": (lambda about: about["model"].update(dim=9), "tells of 9-d float16 and the files hold 16-d float16"),
        "space": (lambda about: about["space"].update(x=1), "its digest is not that of its space"),
        "reduced": (lambda about: about.update(reduction={}), "holds vectors reduced from a model's"),
    }
    for change, says in spoiled.values():
        changed = json.loads(json.dumps(record))
        change(changed["vectors"]["vector"])
        record_file.write_text(json.dumps(changed))
        refused = pixlake_here("embed", str(out), f"{tmp_path}/lake/x", *HERE)
        assert (refused.code, says in refused.err) == (2, True), refused.err
    record_file.write_text(json.dumps(record))
    assert pixlake_here("embed", str(out), f"{tmp_path}/lake/whole", *HERE).code == 0
    rows = rows_by_id(table)
    assert_same(rows, rows_by_id(f"{tmp_path}/lake/whole").select(rows.column_names))
    for name in ("img_emb/img_emb_0002.npy", "metadata/metadata_0002.parquet"):
        (out / name).unlink()
    half = pixlake_here("embed", str(out), f"{tmp_path}/lake/x", *HERE)
    assert (half.code, "2 of 3 files of an export are there" in half.err) == (2, True)


def made_with_vectors(folder: Path, rows: int, dim: int = 16) -> str:
    """A table of this many rows in the null model's space, not normalized; row n's vector tells n."""
    vectors = np.random.default_rng(0).normal(size=(rows, dim)).astype("f2")
    model = describe(parse_model_name("null")).model_copy(update={"dim": dim})
    field = with_space(
        vector_field(dim, pa.float16()), {"embed": {"dim": dim}, "normalize": {"l2": False, "dtype": "float16"}}, model
    )
    names = [f"id-{n:06d}" for n in range(rows)]
    columns = [pa.array(names), pa.array([f"/photos/{name}.jpg" for name in names]), vectors_from_numpy(vectors)]
    schema = pa.schema([pa.field("id", pa.string()), pa.field("uri", pa.string()), field])
    uri = folder / "lake" / "made.lance"
    lance.write_dataset(pa.Table.from_arrays(columns, schema=schema), uri, max_rows_per_file=rows // 7 + 1)
    return str(uri).removesuffix(".lance")


@pytest.mark.kill
def test_killed_exports_and_imports_go_on_and_every_row_is_there_once(tmp_path: Path) -> None:
    table, out, again = made_with_vectors(tmp_path, 30_000), tmp_path / "out", f"{tmp_path}/lake/again"
    arguments = ("export", table, str(out), "--format", "npy", "--rows-per-file", "100")
    kill_when(start(*arguments), lambda: len(list(out.glob("img_emb/*.npy"))) >= 50)
    there = {path: path.stat().st_mtime_ns for path in out.glob("img_emb/*.npy")}
    ended = pixlake_here(*arguments, "--json")
    assert (ended.code, ended.json["rows"], ended.json["files"]) == (0, 30_000, 300), ended.err
    assert 50 <= 300 - ended.json["written_now"] <= len(there) < 300
    assert sum(path.stat().st_mtime_ns == time_ns for path, time_ns in there.items()) >= len(there) - 1
    assert not [path for path in out.rglob(".*")]
    stacked = np.concatenate([np.load(path) for path in sorted(out.glob("img_emb/*.npy"))])
    rows = rows_by_id(table)
    assert np.array_equal(stacked, np.array(rows["vector"].to_pylist(), "f2"))

    taking = ("embed", str(out), again, *HERE, "--set", "cluster.commit_interval_s=0.05")
    kill_when(start(*taking), lambda: rows_there(again) > 0)
    assert 0 < lance.dataset(f"{again}.lance").count_rows() < 30_000
    done = pixlake_here(*taking, "--json")
    assert (done.code, done.json["vectors"], done.json["failures"]) == (0, 30_000, 0), done.err
    assert_same(rows, rows_by_id(again).select(rows.column_names))


def rows_there(table: str) -> int:
    """0 where there is no table yet."""
    there = Path(f"{table}.lance/_versions").is_dir()
    return int(lance.dataset(f"{table}.lance").count_rows()) if there else 0


def kill_when(process: "subprocess.Popen[str]", ready: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not ready() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.002)
    process.kill()
    assert end(process).code == -signal.SIGKILL


@pytest.mark.s3
def test_from_a_bucket_to_a_bucket_and_back(s3: Any, tmp_path: Path) -> None:
    bucket, table = s3.bucket("export"), make_table(tmp_path)
    out, again = f"s3://{bucket}/features/photos", f"s3://{bucket}/lake/again"
    settings = [f"--set=storage.{key}={s3.storage_options[key]}" for key in ("key", "secret", "region", "endpoint_url")]
    arguments = ("export", table, out, "--format", "npy", "--rows-per-file", "10", *settings, "--json")
    exported = pixlake_here(*arguments)
    assert (exported.code, exported.json["written_now"]) == (0, 3), exported.err
    assert pixlake_here(*arguments).json["written_now"] == 0
    store = S3Store(
        bucket,
        endpoint=s3.endpoint_url,
        region=s3.region,
        access_key_id=s3.key,
        secret_access_key=s3.secret,
        client_options={"allow_http": True},
    )
    obstore.delete(store, "features/photos/img_emb/img_emb_0001.npy")
    assert pixlake_here(*arguments).json["written_now"] == 1
    record = bytes(obstore.get(store, "features/photos.export.json").bytes())
    assert s3.secret.encode() not in record
    taken = pixlake_here("embed", out, again, *settings, *HERE, "--set", "source.keep=[rating]", "--json")
    assert (taken.code, taken.json["vectors"]) == (0, PHOTOS), taken.err
    lance_names = {"aws_endpoint": s3.endpoint_url, "aws_region": s3.region, "allow_http": "true"}
    secrets = {"aws_access_key_id": s3.key, "aws_secret_access_key": s3.secret}
    assert_same(rows_by_id(table), rows_by_id(again, {**lance_names, **secrets}))
    for ended in (exported, taken):
        assert s3.secret not in ended.out + ended.err
