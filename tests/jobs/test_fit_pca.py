"""`pixlake fit-pca` on a table of the embed job: the artifact it stores, and what it refuses."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.decomposition import PCA

from jobs.cli import main
from jobs.config.load import ConfigError, load_config
from jobs.fit_pca import FitPcaConfig, as_text, run
from jobs.reduce import ReduceConfig
from jobs.reduce import run as reduce
from made.table import Made, make
from operators.base.arrays import vectors_to_numpy
from operators.base.errors import UserError
from operators.storage.artifacts import find_artifact
from pipelines.space.field import DIGEST_KEY, read_space
from pipelines.table.table import Table


def config(made: Made, **values: Any) -> FitPcaConfig:
    base = {"table": made.table, "dim": 3, "cluster": {"executor": "local"}, **values}
    return load_config(FitPcaConfig, base=base)


@pytest.mark.parametrize("whiten", [False, True])
def test_the_artifact_says_what_it_was_fitted_on(made: Made, whiten: bool) -> None:
    report = run(config(made, whiten=whiten))
    ref, artifact = find_artifact(report.uri)
    table = Table.of(made.table).latest()
    field = table.schema.field("vector")
    vectors = vectors_to_numpy(table.to_table(columns=["vector"])["vector"]).astype("f8")
    theirs = PCA(3, svd_solver="full").fit(vectors)
    assert ref.sha256 == report.sha256
    assert Path(report.uri).parent == Path(f"{made.table}__artifacts")
    assert (artifact.kind, artifact.rows, artifact.space) == ("pca", 5, read_space(field, "")[0])
    assert artifact.settings["whiten"] is whiten
    assert artifact.settings["space_digest"] == report.space_digest == field.metadata[DIGEST_KEY].decode()
    assert {name: each.shape for name, each in artifact.tensors.items()} == {
        "mean": (report.input_dim,),
        "components": (3, report.input_dim),
        "explained_variance": (3,),
        "explained_variance_ratio": (3,),
    }
    assert np.allclose(artifact.tensors["explained_variance"], theirs.explained_variance_, rtol=1e-6)
    assert report.explained == pytest.approx(theirs.explained_variance_ratio_.sum())


def test_the_same_again_is_the_same_file(made: Made) -> None:
    assert run(config(made)) == run(config(made))
    assert run(config(made)).sha256 != run(config(made, whiten=True)).sha256


def test_the_file_of_the_embed_job_serves(made: Made, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["fit-pca", made.table, "--dim", "0.5", "--config", str(made.settings), "--json"])
    assert ended.value.code == 0
    printed = json.loads(capsys.readouterr().out)
    assert (printed["dim"], printed["rows"], printed["column"]) == (len_for(made, 0.5), 5, "vector")


def len_for(made: Made, share: float) -> int:
    return run(config(made, dim=share)).dim


def test_the_text_names_the_artifact_and_what_comes_next(made: Made) -> None:
    report = run(config(made, sample=1000))
    lines = as_text(report).splitlines()
    assert f"artifact   {report.uri}" in lines
    assert f"sha256     {report.sha256}" in lines
    assert lines[-1].startswith(f"use it     pixlake reduce {made.table} vector_3 --pca {report.uri}")


@pytest.mark.parametrize("dim", [0, -1, 1.5, 0.0, 64.0, "abc"])
def test_a_dim_that_is_none_is_refused(made: Made, dim: float | str) -> None:
    with pytest.raises(ConfigError, match="dim: a number of components from 1 on, or a share"):
        config(made, dim=dim)


def test_more_components_than_rows_are_refused(made: Made) -> None:
    with pytest.raises(UserError, match=r"dim 6: 5 vectors of .* numbers have 1 to 5 components; fit on more rows"):
        run(config(made, dim=6))


def test_a_column_that_is_not_there_is_refused(made: Made) -> None:
    with pytest.raises(UserError, match="--column other is no vector column; columns of models: vector"):
        run(config(made, column="other"))


def test_derived_columns_are_left_alone(tmp_path: Path) -> None:
    made = make(tmp_path)
    artifact = run(config(made)).uri
    reduced = {"table": made.table, "column": "vector_3", "pca": artifact, "cluster": {"executor": "local"}}
    assert reduce(load_config(ReduceConfig, base=reduced)).rows == 5
    assert run(config(made)).uri == artifact, "the column of the model is found beside the derived one"
    with pytest.raises(UserError, match="--column vector_3 is derived itself; columns of models: vector"):
        run(config(made, column="vector_3"))
