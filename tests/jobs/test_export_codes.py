"""Codes that leave a table take with them what decodes them; the lines of docs/export.md do it."""

import hashlib
import json
import re
from pathlib import Path
from typing import Any

import faiss
import lance
import numpy as np
import pyarrow.parquet as pq
import pytest

from jobs import fit_pca, reduce
from jobs.config.load import load_config
from jobs.export import as_text
from made.spaced_table import LOCAL, export, make
from made.vectors import clustered
from operators.base.errors import UserError

ROWS, DIM, QUERIES, K = 1000, 32, 200, 10
PAGE = (Path(__file__).parents[2] / "docs" / "export.md").read_text().split("\n## Codes\n")[1].split("\n## ")[0]
LINES = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)


def full_vectors() -> np.ndarray:
    """Dimensions of different ranges, away from zero: what the features of many networks are like."""
    ranges = np.random.default_rng(5).lognormal(0, 1, DIM)
    return ((clustered(ROWS, DIM) + 0.4) * ranges).astype("f2")


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> str:
    # On a busy machine two threads of k-means wait for each other: 11 s for what takes 0.1 s of one.
    threads = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(1)
    name = make(tmp_path_factory.mktemp("codes"), full_vectors())
    fitted = fit_pca.run(load_config(fit_pca.FitPcaConfig, base={"table": name, "dim": 16, "cluster": LOCAL}))
    made: dict[str, dict[str, Any]] = {"int8": {}, "binary": {}, "pq": {"pq_bytes": 8}}
    made["pca"] = {"quantize": "int8", "pca": fitted.uri}
    for column, options in made.items():
        base = {"table": name, "column": f"vector_{column}", "cluster": LOCAL, "quantize": column, **options}
        reduce.run(load_config(reduce.ReduceConfig, base=base))
    faiss.omp_set_num_threads(threads)
    return name


@pytest.fixture(scope="module")
def folder(table: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where `features` was exported to."""
    folder = tmp_path_factory.mktemp("exported")
    done = export(table, folder / "features")
    assert "vector_pq.quantizer.safetensors" in as_text(done)
    return folder


def nearest(vectors: np.ndarray) -> np.ndarray:
    """(QUERIES, K): by cosine, of the first rows to all others."""
    unit = vectors.astype("f8") / np.linalg.norm(vectors.astype("f8"), axis=1, keepdims=True)
    return np.argsort(-(unit[:QUERIES] @ unit.T), axis=1)[:, 1 : K + 1]


def recall(found: np.ndarray) -> float:
    """Of the ten nearest of the full vectors."""
    pairs = zip(nearest(full_vectors()), found, strict=True)
    return float(np.mean([len(set(mine) & set(theirs)) / K for mine, theirs in pairs]))


@pytest.mark.parametrize(("line", "least", "as_they_are"), [(1, 0.98, 0.75), (2, 0.75, 0.2)], ids=["int8", "pq"])
def test_codes_are_noise_and_the_lines_on_the_page_make_vectors_of_them(
    folder: Path, monkeypatch: pytest.MonkeyPatch, line: int, least: float, as_they_are: float
) -> None:
    monkeypatch.chdir(folder)
    names: dict[str, np.ndarray] = {}
    exec(LINES[0] + LINES[line], names)
    assert names["vectors"].shape == (ROWS, DIM)
    assert names["vectors"].dtype == np.float32
    assert recall(nearest(names["vectors"])) >= least
    assert recall(nearest(names["codes"])) <= as_they_are


def test_bits_are_compared_as_the_page_says(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    full = full_vectors().astype("f4")
    names: dict[str, np.ndarray] = {"query": full[7]}
    exec(LINES[0] + LINES[3], names)
    over = full > np.median(full, axis=0)
    assert np.array_equal(names["differing"], (over != over[7]).sum(1))


def test_the_record_names_each_file_with_its_content_and_use(folder: Path) -> None:
    about = json.loads((folder / "features.export.json").read_text())["vectors"]
    assert {name for name in about if "quantizer" in about[name]} == {
        "vector_int8", "vector_binary", "vector_pq", "vector_pca"
    }  # fmt: skip
    for column in about.values():
        for role in {"quantizer", "pca"} & column.keys():
            data = (folder / column[role]["file"]).read_bytes()
            assert hashlib.sha256(data).hexdigest() == column[role]["sha256"]
    assert about["vector_int8"]["quantizer"]["use"] == "vectors = codes * scale + offset"
    assert about["vector_pca"]["pca"]["file"] == "features.vector_pca.pca.safetensors"
    assert {path.suffix for path in (folder / "features").iterdir()} == {".parquet"}
    other = export_again_with_float32(folder)
    assert other.schema.field("vector_int8").type.value_type == "int8"


def export_again_with_float32(folder: Path) -> "pq.lib.Table":
    table = json.loads((folder / "features.export.json").read_text())["request"]["table"].removesuffix(".lance")
    export(table, folder / "floats", dtype="float32")
    return pq.read_table(folder / "floats")


def test_codes_without_what_decodes_them_are_not_exported(table: str, tmp_path: Path) -> None:
    away = Path(f"{table}__artifacts").rename(f"{table}__away")
    try:
        with pytest.raises(UserError, match=r"artifact int8-.*vectors cannot be made or compared without it"):
            export(table, tmp_path / "out", column=["vector_int8"])
        assert not (tmp_path / "out").exists()
        export(table, tmp_path / "out", column=["vector"])
    finally:
        away.rename(f"{table}__artifacts")


def test_what_lies_beside_a_finished_export_is_put_there_again(table: str, tmp_path: Path) -> None:
    export(table, tmp_path / "out", column=["vector_pq"])
    [fitted] = tmp_path.glob("out.*.safetensors")
    content = fitted.read_bytes()
    fitted.unlink()
    assert export(table, tmp_path / "out", column=["vector_pq"]).written_now == 0
    assert fitted.read_bytes() == content
    assert lance.dataset(f"{table}.lance").count_rows() == ROWS
