"""A table whose data file is gone: every command that reads it says so in one sentence."""

import shutil
from pathlib import Path

import pytest

from end_to_end.command import embed_here, pixlake_here
from made.sources import make_folder


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("missing")
    make_folder(folder / "images", range(5))
    assert embed_here(f"{folder}/images", f"{folder}/lake/photos").code == 0
    shutil.rmtree(folder / "lake/photos.lance/data")
    return folder


@pytest.mark.parametrize(
    "arguments",
    [
        ("embed", "{images}", "{table}", "--model", "null", "--retry-failed"),
        ("search", "{table}", "--id", "x"),
        ("search", "{table}", "--image", "{images}/00000.png"),
        ("search", "{table}", "--image", "{images}/00000.png", "--where", "width > 0"),
        ("search", "{table}", "--image", "{images}/00000.png", "--where", "width > 0", "--exact"),
        ("delete", "{table}", "--where", "width > 0"),
        ("export", "{table}", "{images}/../out", "--where", "width > 0"),
        ("map", "{table}", "--out", "{images}/../map", "--where", "width > 0"),
        ("duplicates", "{table}", "--where", "width > 0"),
        ("describe", "{table}"),
        ("delete", "{table}", "--id", "x"),
        ("export", "{table}", "{images}/../out"),
        ("fit-pca", "{table}", "--dim", "8"),
        ("index", "{table}"),
        ("evaluate", "{table}"),
        ("rewrite", "{table}", "{images}/../lake/other"),
    ],
    ids=" ".join,
)
def test_it_is_said_in_one_sentence_and_what_to_do(table: Path, arguments: tuple[str, ...]) -> None:
    places = {"images": f"{table}/images", "table": f"{table}/lake/photos"}
    ended = pixlake_here(*(each.format(**places) for each in arguments))
    assert ended.code == 1, ended.out + ended.err
    said = ended.err + ended.out
    assert "Traceback" not in said
    assert "not there" in said
    assert "restore()" in said
