"""What would give vectors of another meaning is refused, both sides shown, and nothing is changed."""

from pathlib import Path

import pytest

from end_to_end.audit import audit, num_versions
from end_to_end.command import RAY, embed_here, pixlake_here
from made.sources import make_folder


@pytest.mark.parametrize(
    ("changed", "field", "there", "here"),
    [
        (("--set", "model.name=efficientnet-lite0"), "embed.family", '"null"', '"efficientnet-lite"'),
        (("--set", "decode.orient=false"), "decode.orientation", '"exif"', '"ignore"'),
        (("--set", "normalize.l2=false"), "normalize.l2", "true", "false"),
        (("--set", "normalize.dtype=float32"), "normalize.dtype", '"float16"', '"float32"'),
    ],
    ids=["model", "decode", "length", "dtype"],
)
def test_another_space_is_refused(tmp_path: Path, changed: tuple[str, str], field: str, there: str, here: str) -> None:
    expected = make_folder(tmp_path / "images", range(5))
    table = f"{tmp_path}/lake/photos"
    assert embed_here(f"{tmp_path}/images", table).code == 0
    before = num_versions(table)
    refused = embed_here(f"{tmp_path}/images", table, *changed)
    assert refused.code == 2
    assert refused.out == ""
    lines = [line for line in refused.err.splitlines() if field in line and there in line]
    assert any(here in line for line in lines), refused.err
    assert num_versions(table) == before
    audit(table, expected)


def test_more_images_in_another_space_are_refused(tmp_path: Path) -> None:
    expected, table = make_folder(tmp_path / "images", range(5)), f"{tmp_path}/lake/photos"
    make_folder(tmp_path / "more", range(5, 10))
    assert embed_here(f"{tmp_path}/images", table).code == 0
    refused = embed_here(f"{tmp_path}/more", table, "--set", "decode.colour=ignore")
    assert refused.code == 2
    assert "decode.colour" in refused.err
    audit(table, expected)


@pytest.mark.parametrize("overwrite", [(), ("--overwrite",)])
def test_pools_that_do_not_fit_are_refused_before_the_table_is_touched(
    tmp_path: Path, overwrite: tuple[str, ...]
) -> None:
    expected, table = make_folder(tmp_path / "images", range(10)), f"{tmp_path}/lake/photos"
    assert embed_here(f"{tmp_path}/images", table).code == 0
    make_folder(tmp_path / "more", range(20, 25))
    before = num_versions(table)
    stages = "[{name: all, operators: [fetch, decode, embed, normalize], num_actors: 5000}]"
    too_many = (*RAY, "--set", f"cluster.stages={stages}", *overwrite)
    for extra in ((), ("--dry-run",)):
        refused = pixlake_here("embed", f"{tmp_path}/more", table, *too_many, *extra)
        assert refused.code == 2
        assert "all: 5000 actors x 1 CPUs" in refused.err
    assert num_versions(table) == before
    audit(table, expected)
