"""From images to features, all in buckets: regions, PCA, codes, index, evaluation, export; no secret is kept."""

import io
import json
from collections.abc import Callable
from typing import Any

import lance
import numpy as np
import obstore
import pytest
from obstore.store import S3Store

from end_to_end.command import LOCAL, Ended, pixlake_here
from made.s3_source import fill, lance_options, objects_holding

IMAGES, EACH = 60, 3
"""Two halves, and the whole."""
HERE = ("--set", "cluster.executor=local")
REGIONS = ("--set", "regions={kind: grid, rows: 1, columns: 2, whole: true}", "--set", "source.id_column=key")

Run = Callable[..., Ended]


@pytest.fixture(scope="module")
def place(s3: Any) -> tuple[str, S3Store, Run]:
    """A table of regions, the bucket that it is in, and the command with that server's keys, which must end well."""
    bucket = s3.bucket("vectors")
    store, _ = fill(s3, bucket, IMAGES)
    settings = [f"--set=storage.{key}={s3.storage_options[key]}" for key in ("key", "secret", "region")]
    settings.append(f"--set=storage.endpoint_url={s3.endpoint_url}")

    def run(command: str, *arguments: str) -> Ended:
        ended = pixlake_here(command, *arguments, *settings)
        assert ended.code == 0, ended.err
        assert s3.secret not in ended.out + ended.err
        return ended

    table = f"s3://{bucket}/lake/parts"
    source = f"s3://{bucket}/in/manifest.parquet"
    kept = ("--set", "source.keep=[label]", "--set", "decode.isolate=false")
    ended = run("embed", source, table, *LOCAL, *REGIONS, *kept, "--json")
    assert (ended.json["status"], ended.json["vectors"]) == ("complete", IMAGES)
    return table, store, run


@pytest.mark.s3
def test_a_box_of_an_image_in_the_bucket_finds_that_image_once(place: tuple[str, S3Store, Run], s3: Any) -> None:
    table, _, run = place
    image = table.replace("lake/parts", "in/7.png")
    found = run("search", table, "--image", image, "--box", "0,0,4,8", "--group", "-k", "2", "--json").json["results"]
    assert (found[0]["id"], found[0]["score"]) == ("image-7", pytest.approx(1, abs=1e-3))
    assert found[1]["id"] != "image-7"
    rows = lance.dataset(f"{table}.lance", storage_options=lance_options(s3)).to_table(columns=["id", "region"])
    assert rows.num_rows == IMAGES * EACH


@pytest.mark.s3
def test_it_is_reduced_indexed_measured_and_exported(place: tuple[str, S3Store, Run], s3: Any) -> None:
    table, store, run = place
    # In images of one colour all parts are the same, and colours differ in three numbers.
    pca = run("fit-pca", table, "--dim", "2", "--json", *HERE).json["uri"]
    run("reduce", table, "vector_2", "--pca", pca, "--quantise", "float32", *HERE)
    run("reduce", table, "vector_int8", "--quantise", "int8", *HERE)
    run("index", table, "--column", "vector", "--type", "IVF_FLAT", "--num-partitions", "2", "--scalar", "label", *HERE)
    evaluated = run("evaluate", table, "--queries", "30", "--label", "label", "--json").json
    [group] = evaluated["models"]
    names = [way["name"] for way in group["ways"]]
    assert names == ["vector", "vector IVF_FLAT", "vector_2", "vector_int8"]
    assert (group["rows"], group["ways"][0]["recall"]["1"]) == (IMAGES * EACH, 1)
    assert all(way["build_seconds"] > 0 for way in group["ways"][1:])
    stored = evaluated["json_file"].split("/", 3)[3]
    assert json.loads(bytes(obstore.get(store, stored).bytes())) == evaluated
    assert bytes(obstore.get(store, evaluated["plot_file"].split("/", 3)[3]).bytes()).startswith(b"\x89PNG")

    out = table.replace("lake/parts", "features")
    options = ("--format", "npy", "--column", "vector_2", "--rows-per-file", "100")
    exported = run("export", table, out, *options, "--json", *HERE).json
    assert (exported["rows"], exported["files"]) == (IMAGES * EACH, 2)
    rows = lance.dataset(f"{table}.lance", storage_options=lance_options(s3)).to_table(columns=["vector_2"])
    files = [bytes(obstore.get(store, f"features/img_emb/img_emb_{n}.npy").bytes()) for n in ("0000", "0001")]
    values = [np.load(io.BytesIO(file)) for file in files]
    assert np.array_equal(np.concatenate(values), np.array(rows["vector_2"].to_pylist(), "f4"))
    assert objects_holding(store, s3.secret.encode()) == []
