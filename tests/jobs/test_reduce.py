"""`pixlake reduce`, and runs that fill what was reduced: real images, the null model, every precision."""

import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import lance
import numpy as np
import pytest
from PIL import Image
from sklearn.decomposition import PCA

from jobs import describe, fit_pca, reduce, search
from jobs.config.load import load_config
from jobs.embed import load, run
from jobs.embedding.plan import plan
from operators.base.errors import UserError
from operators.storage.artifacts import Artifact, find_artifact, write_artifact
from pipelines.derivation.record import DeriveRecord, read_derive_record
from pipelines.space.field import read_space

IMAGES = 300
PRECISIONS = {"int8": 1e-3, "binary": 0.0, "pq": 0.2, "float16": 1e-3, "float32": 1e-6}
LOCAL = {"executor": "local"}


def write_images(folder: Path, first: int, count: int) -> None:
    folder.mkdir(exist_ok=True)
    for n in range(first, first + count):
        pixels = np.random.default_rng(n).integers(0, 256, (6, 6, 3), np.uint8)
        Image.fromarray(pixels).resize((48, 48), Image.Resampling.BICUBIC).save(folder / f"{n:04}.png")


def embed(source: Path, table: str, **more: Any) -> Any:
    base = {"source": {"uri": str(source)}, "table": table, "model": {"name": "null"}, "cluster": LOCAL}
    return run(load(base={**base, "decode": {"isolate": False}, **more}))


def make(table: str, column: str, **options: Any) -> reduce.ReduceReport:
    base = {"table": table, "column": column, "cluster": LOCAL, "pq_bytes": 24, **options}
    return reduce.run(load_config(reduce.ReduceConfig, base=base))


def column_of(table: str, name: str) -> Any:
    return lance.dataset(f"{table}.lance").to_table(columns=[name])[name]


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    folder = tmp_path_factory.mktemp("reduce")
    write_images(folder / "images", 0, IMAGES)
    name = str(folder / "lake" / "noise")
    embed(folder / "images", name)
    for precision in PRECISIONS:
        make(name, f"vector_{precision}", quantize=precision)
    make(name, "vector_48", truncate_dim=48, allow_untrained_truncation=True)
    return folder, name


@pytest.mark.parametrize("precision", PRECISIONS)
def test_an_image_of_the_table_finds_itself_first(table: tuple[Path, str], precision: str) -> None:
    folder, name = table
    for n in (0, 123, 299):
        query = {
            "table": name,
            "image": str(folder / "images" / f"{n:04}.png"),
            "column": f"vector_{precision}",
            "k": 3,
        }
        found = search.run(search.SearchConfig.model_validate(query)).results
        assert found[0]["uri"].endswith(f"{n:04}.png")
        assert found[0]["score"] >= 1 - PRECISIONS[precision] - 1e-6
        assert not {column for column in found[0] if column.startswith("vector")}


@pytest.mark.parametrize("precision", ["int8", "binary", "pq"])
def test_candidates_of_a_coarse_column_are_rescored(table: tuple[Path, str], precision: str) -> None:
    folder, name = table
    image = str(folder / "images" / "0042.png")
    query = {"table": name, "image": image, "column": f"vector_{precision}", "rescore": "vector", "candidates": 200}
    found = search.run(search.SearchConfig.model_validate(query))
    exact = search.run(search.SearchConfig.model_validate({"table": name, "image": image, "column": "vector"}))
    assert found.rescored_by == "vector"
    scores = {row["id"]: row["score"] for row in exact.results}
    assert len([row for row in found.results if row["id"] in scores]) >= 9
    assert all(
        row["score"] == pytest.approx(scores[row["id"]], abs=1e-6) for row in found.results if row["id"] in scores
    )


def test_without_a_column_the_models_own_is_searched(table: tuple[Path, str]) -> None:
    folder, name = table
    found = search.run(search.SearchConfig(table=name, image=str(folder / "images" / "0005.png"), k=1))
    assert found.column == "vector"
    assert found.results[0]["uri"].endswith("0005.png")


def test_a_stored_row_is_a_query_too(table: tuple[Path, str]) -> None:
    _, name = table
    row = lance.dataset(f"{name}.lance").to_table(columns=["id"], limit=1)["id"][0].as_py()
    for precision in PRECISIONS:
        query = {"table": name, "id": row, "column": f"vector_{precision}", "rescore": "vector_48"}
        assert search.run(search.SearchConfig.model_validate(query)).results[0]["id"] == row


def test_the_same_command_again_does_nothing_and_another_is_refused(table: tuple[Path, str]) -> None:
    _, name = table
    before = lance.dataset(f"{name}.lance").version
    again = make(name, "vector_pq", quantize="pq")
    assert (again.rows, again.quantizer) == (0, None)
    assert lance.dataset(f"{name}.lance").version == before
    with pytest.raises(UserError, match=r"vector_pq is there, made of vector: pq of 24 bytes; asked for is .*: int8"):
        make(name, "vector_pq", quantize="int8")
    with pytest.raises(UserError, match=r"of 24 bytes; asked for is .* 12 bytes"):
        make(name, "vector_pq", quantize="pq", pq_bytes=12)


def test_what_a_column_took_is_noted_until_it_is_dropped(tmp_path: Path) -> None:
    write_images(tmp_path / "images", 0, 30)
    table = str(tmp_path / "lake" / "noise")
    embed(tmp_path / "images", table)

    def noted() -> DeriveRecord | None:
        return read_derive_record(lance.dataset(f"{table}.lance"), "vector_int8")

    assert noted() is None
    first = make(table, "vector_int8", quantize="int8")
    assert noted() == DeriveRecord(rows=30, seconds=first.seconds)
    make(table, "vector_int8", quantize="int8")
    assert noted() == DeriveRecord(rows=30, seconds=first.seconds), "nothing was made"
    lance.dataset(f"{table}.lance").drop_columns(["vector_int8"])
    again = make(table, "vector_int8", quantize="int8")
    assert noted() == DeriveRecord(rows=30, seconds=again.seconds)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"truncate_dim": 48}, "the model is not known to be trained for it.*--allow-untrained-truncation"),
        ({"truncate_dim": 192}, "truncate_dim = 192 of vectors of length 192: there is nothing to cut"),
        ({"base": "vector_48"}, "--base vector_48 is derived itself; columns of models: vector"),
        ({"base": "label"}, "--base label is no vector column"),
        ({"quantize": "pq", "pq_bytes": 7}, "7 bytes do not divide vectors of length 192"),
        ({"quantizer": "/nowhere.safetensors", "quantize": "int8"}, "no such file"),
        ({"pca": "/nowhere.safetensors"}, "no such file"),
    ],
)
def test_what_cannot_be_made_says_why_and_changes_nothing(
    table: tuple[Path, str], options: dict[str, Any], says: str
) -> None:
    _, name = table
    with pytest.raises(UserError, match=says):
        make(name, "vector_new", **options)
    assert "vector_new" not in lance.dataset(f"{name}.lance").schema.names


def test_artifacts_of_another_space_are_refused(table: tuple[Path, str], tmp_path: Path) -> None:
    _, name = table
    record = read_space(lance.dataset(f"{name}.lance").schema.field("vector"), name)[0]
    tensors = {"mean": np.zeros(192), "components": np.eye(192)[:8], "explained_variance": np.ones(8)}
    other = record | {"embed": record["embed"] | {"weights_sha256": "0" * 64}}
    pca = Artifact(kind="pca", tensors=tensors, space=other, rows=9, settings={"whiten": False})
    with pytest.raises(UserError, match=r"fitted on vectors of another space:\n  embed\.weights_sha256"):
        make(name, "vector_new", pca=write_artifact(pca, str(tmp_path)).uri)
    scalar = next((Path(name).parent / "noise__artifacts").glob("int8-*"))
    with pytest.raises(UserError, match=r"another space:\n  renormalize.*\n  truncate"):
        make(
            name, "vector_new", truncate_dim=48, allow_untrained_truncation=True, quantize="int8", quantizer=str(scalar)
        )
    with pytest.raises(UserError, match="was fitted for int8, quantize is binary"):
        make(name, "vector_new", quantize="binary", quantizer=str(scalar))


def test_the_latest_pca_is_the_one_fitted_last_on_vectors_of_the_column(tmp_path: Path) -> None:
    write_images(tmp_path / "images", 0, 20)
    name = str(tmp_path / "lake" / "t")
    embed(tmp_path / "images", name)
    with pytest.raises(UserError, match=r"none in \S+t__artifacts was fitted on vectors like those of vector; `pix"):
        make(name, "vector_8", pca="latest")
    first, second = fit(name, dim=8), fit(name, dim=6)
    # Of another model, and newer than both.
    ref = write_artifact(replace(find_artifact(first)[1], space={"embed": {"family": "another"}}), f"{name}__artifacts")
    for seconds, uri in enumerate([second, first, ref.uri]):
        os.utime(uri, (1e9 + seconds, 1e9 + seconds))
    made = make(name, "vector_8", pca="latest")
    assert made.reduction.pca is not None
    assert (made.reduction.pca.artifact.uri, made.rows) == (first, 20)
    assert f"\npca        {first}\n" in reduce.as_text(made)
    assert make(name, "vector_8", pca="latest").rows == 0
    os.utime(second, (1e9 + 9, 1e9 + 9))
    with pytest.raises(UserError, match=rf"is there, made .* \(the PCA {first}\); asked for is .*\(the PCA {second}\)"):
        make(name, "vector_8", pca="latest")
    os.utime(first, (1e9 + 9, 1e9 + 9))
    with pytest.raises(UserError, match="were written in the same instant; name one of them"):
        make(name, "vector_6", pca="latest")
    with pytest.raises(UserError, match="pca = latest is of `pixlake reduce`"):
        embed(tmp_path / "images", f"{name}2", reduce={"vector_8": {"pca": "latest"}})


def test_later_runs_fill_every_derived_column(table: tuple[Path, str]) -> None:
    folder, name = table
    write_images(folder / "more", 1000, 20)
    assert embed(folder / "more", name).status == "complete"
    for precision in PRECISIONS:
        column = column_of(name, f"vector_{precision}")
        assert len(column) >= IMAGES + 20
        assert not column.null_count
    before = column_of(name, "vector_pq").combine_chunks()
    other = make(
        name, "vector_pq_again", quantize="pq", quantizer=make(name, "vector_pq", quantize="pq").reduction.quantizer.uri
    )  # type: ignore[union-attr]
    assert other.rows == len(before)
    assert column_of(name, "vector_pq_again").combine_chunks().equals(before)


def test_columns_asked_for_at_the_start_are_what_reduce_would_make(tmp_path: Path) -> None:
    write_images(tmp_path / "images", 0, 12)
    cut = {"truncate_dim": 48, "allow_untrained_truncation": True}
    embed(
        tmp_path / "images", str(tmp_path / "a" / "t"), reduce={"vector_48": cut, "vector_f32": {"quantize": "float32"}}
    )
    embed(tmp_path / "images", str(tmp_path / "b" / "t"))
    make(str(tmp_path / "b" / "t"), "vector_48", **cut)
    first, second = (lance.dataset(str(tmp_path / each / "t.lance")) for each in "ab")
    assert first.schema.field("vector_48").equals(second.schema.field("vector_48"), check_metadata=True)
    in_order = [
        each.to_table(columns=["row", "vector_48"]).sort_by("row")["vector_48"].to_pylist() for each in (first, second)
    ]
    assert in_order[0] == in_order[1]


def test_a_table_may_hold_the_derived_columns_alone(tmp_path: Path) -> None:
    write_images(tmp_path / "images", 0, 12)
    table = str(tmp_path / "lake" / "t")
    cut = {"vector_48": {"truncate_dim": 48, "allow_untrained_truncation": True}}
    embed(tmp_path / "images", table, reduce=cut, store_base=False)
    schema = lance.dataset(f"{table}.lance").schema
    assert "vector" not in schema.names
    found = search.run(search.SearchConfig(table=table, image=str(tmp_path / "images" / "0003.png")))
    assert found.results[0]["uri"].endswith("0003.png")
    write_images(tmp_path / "more", 50, 3)
    embed(tmp_path / "more", table)
    assert len(column_of(table, "vector_48")) == 15
    with pytest.raises(UserError, match="holds derived columns alone"):
        make(table, "vector_24", truncate_dim=24, allow_untrained_truncation=True)


def test_a_column_that_rows_would_lack_is_refused(table: tuple[Path, str]) -> None:
    folder, name = table
    with pytest.raises(UserError, match=r"has rows, and no column vector_new: add it .* `pixlake reduce"):
        embed(folder / "images", name, reduce={"vector_new": {"quantize": "float32"}})
    with pytest.raises(UserError, match="needs a quantizer that was fitted"):
        embed(folder / "images", f"{name}_2", reduce={"vector_new": {"quantize": "int8"}})


def test_a_model_that_was_trained_for_it_is_cut_without_more_ado(tmp_path: Path) -> None:
    write_images(tmp_path / "images", 0, 3)
    model = {"name": "null", "matryoshka_dims": [96, 48]}
    base = {"source": {"uri": str(tmp_path / "images")}, "table": str(tmp_path / "t"), "model": model, "cluster": LOCAL}
    shown = plan(load(base={**base, "reduce": {"vector_48": {"truncate_dim": 48}}})).to_dict()
    assert "matryoshka" not in json.dumps(shown["derived"]) + json.dumps(shown["models"])
    with pytest.raises(UserError, match="was trained to be cut to 96, 48"):
        plan(load(base={**base, "reduce": {"vector_50": {"truncate_dim": 50}}}))


def test_the_plan_shows_what_is_derived(table: tuple[Path, str]) -> None:
    folder, name = table
    config = load(base={"source": {"uri": str(folder / "images")}, "table": name, "model": {"name": "null"}})
    shown = plan(config)
    assert "derived  vector_48: of vector: cut to 48, float16" in shown.text()
    assert json.loads(json.dumps(shown.to_dict()))["derived"]["vector_pq"]["space"]["quantize"]["precision"] == "pq"
    assert shown.to_dict()["stages"][0]["operators"][-3:] == ["truncate", "renormalize", "quantize"]


@pytest.mark.parametrize("whiten", [False, True])
def test_a_pca_of_the_table_gives_what_scikit_learns_gives(table: tuple[Path, str], whiten: bool) -> None:
    folder, name = table
    fitted = fit_pca.run(
        load_config(
            fit_pca.FitPcaConfig,
            base={"table": name, "dim": 32, "column": "vector", "whiten": whiten, "cluster": LOCAL},
        )
    )
    column = f"vector_pca_{whiten}".lower()
    make(name, column, pca=fitted.uri, quantize="float32")
    base = np.array(column_of(name, "vector").to_pylist(), np.float64)
    theirs = PCA(32, whiten=whiten, svd_solver="full").fit(base).transform(base)
    theirs /= np.linalg.norm(theirs, axis=1, keepdims=True)
    ours = np.array(column_of(name, column).to_pylist())
    np.testing.assert_allclose(ours @ ours.T, theirs @ theirs.T, atol=1e-4)
    image = str(folder / "images" / "0011.png")
    found = search.run(search.SearchConfig(table=name, image=image, column=column)).results[0]
    assert found["uri"].endswith("0011.png")
    assert found["score"] > 0.99999


def test_describe_tells_what_is_derived(table: tuple[Path, str]) -> None:
    _, name = table
    described = describe.run(describe.DescribeConfig(table=name))
    assert described.vector_columns["vector_48"].dim == 48
    text = describe.as_text(described)
    assert "model      vector: null, 192-d" in text
    assert "derived    vector_48 of vector: cut to 48, float16, 48-d" in text
    assert "derived    vector_pq of vector: pq of 24 bytes, 192-d" in text


def test_an_index_is_used_as_long_as_it_is_not_passed_by(table: tuple[Path, str], tmp_path: Path) -> None:
    folder, name = table
    dataset = lance.dataset(f"{name}.lance")
    dataset.create_index("vector_float32", "IVF_FLAT", num_partitions=2, metric="cosine", name="by_hand")
    query = {"table": name, "image": str(folder / "images" / "0007.png"), "column": "vector_float32", "nprobes": 2}
    by_index = search.run(search.SearchConfig.model_validate(query))
    assert (by_index.index, by_index.unindexed_rows) == ("by_hand", 0)
    exact = search.run(search.SearchConfig.model_validate(query | {"exact": True}))
    assert (exact.index, exact.unindexed_rows) == (None, 0)
    assert [row["id"] for row in exact.results] == [row["id"] for row in by_index.results]
    write_images(tmp_path / "late", 2000, 4)
    embed(tmp_path / "late", name)
    query["image"] = str(tmp_path / "late" / "2001.png")
    late = search.run(search.SearchConfig.model_validate(query))
    assert late.unindexed_rows == 4
    assert late.results[0]["uri"].endswith("2001.png")


def test_an_index_made_by_hand_is_used_by_its_own_metric(table: tuple[Path, str]) -> None:
    folder, name = table
    dataset = lance.dataset(f"{name}.lance")
    centroids = dataset.take(range(30), columns=["vector_float16"])["vector_float16"].combine_chunks()
    dataset.create_index(
        "vector_float16", "IVF_FLAT", num_partitions=30, ivf_centroids=centroids, metric="l2", name="by_hand_l2"
    )
    query = {"table": name, "image": str(folder / "images" / "0007.png"), "column": "vector_float16", "nprobes": 1}
    by_index = search.run(search.SearchConfig.model_validate(query))
    exact = search.run(search.SearchConfig.model_validate(query | {"exact": True}))
    assert by_index.index == "by_hand_l2"
    assert by_index.results[0] == exact.results[0]
    assert by_index.results != exact.results, "one partition of 30 holds less than all"


def test_a_table_that_was_moved_is_searched_filled_and_reduced_further(tmp_path: Path) -> None:
    write_images(tmp_path / "images", 0, 40)
    embed(tmp_path / "images", str(tmp_path / "lake" / "t"))
    pca = fit(str(tmp_path / "lake" / "t"), dim=8)
    make(str(tmp_path / "lake" / "t"), "vector_8", pca=pca, quantize="int8")
    (tmp_path / "lake").rename(tmp_path / "moved")
    name = str(tmp_path / "moved" / "t")
    query = {"table": name, "image": str(tmp_path / "images" / "0007.png"), "column": "vector_8"}
    assert search.run(search.SearchConfig.model_validate(query)).results[0]["uri"].endswith("0007.png")
    moved = str(tmp_path / "moved" / "t__artifacts" / Path(pca).name)
    assert make(name, "vector_8", pca=moved, quantize="int8").rows == 0, "the same PCA, elsewhere"
    write_images(tmp_path / "images", 40, 2)
    embed(tmp_path / "images", name, skip_existing=True)
    assert column_of(name, "vector_8").null_count == 0


def test_no_quantizer_is_fitted_on_nothing(tmp_path: Path) -> None:
    write_images(tmp_path / "images", 0, 3)
    name = str(tmp_path / "lake" / "t")
    embed(tmp_path / "images", name)
    lance.dataset(f"{name}.lance").delete("true")
    with pytest.raises(UserError, match="vector holds no vectors to fit int8 on; embed first"):
        make(name, "vector_8", quantize="int8")
    assert make(name, "vector_16").rows == 0


def test_a_run_does_not_begin_without_an_artifact_that_it_will_need(tmp_path: Path) -> None:
    write_images(tmp_path / "images", 0, 20)
    name = str(tmp_path / "lake" / "t")
    embed(tmp_path / "images", name)
    make(name, "vector_8", pca=fit(name, dim=8))
    [gone] = (tmp_path / "lake" / "t__artifacts").iterdir()
    kept = gone.read_bytes()
    version = lance.dataset(f"{name}.lance").version
    write_images(tmp_path / "images", 20, 1)
    for change in (gone.unlink, lambda: gone.write_bytes(kept[:-1] + b"x")):
        change()
        with pytest.raises(UserError, match=rf"{gone.name}: (is neither in|its sha256 is)"):
            embed(tmp_path / "images", name)
        assert lance.dataset(f"{name}.lance").version == version
    gone.write_bytes(kept)
    assert embed(tmp_path / "images", name, skip_existing=True).status == "complete"


def fit(table: str, dim: int) -> str:
    return fit_pca.run(load_config(fit_pca.FitPcaConfig, base={"table": table, "dim": dim, "cluster": LOCAL})).uri
