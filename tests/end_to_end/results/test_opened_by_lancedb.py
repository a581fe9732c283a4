"""The result is a plain LanceDB table: anybody's lancedb opens and searches it."""

from pathlib import Path

import lancedb

from end_to_end.command import embed_here
from made.solid_images import vectors_of
from made.sources import make_folder


def test_lancedb_finds_each_image_by_its_vector(tmp_path: Path) -> None:
    expected = make_folder(tmp_path / "images", range(0, 6000, 100))
    assert embed_here(f"{tmp_path}/images", f"{tmp_path}/lake/photos").code == 0
    database = lancedb.connect(f"{tmp_path}/lake")
    table = database.open_table("photos")
    assert table.count_rows() == len(expected)
    for each, vector in zip(expected, vectors_of([each.number or 0 for each in expected]), strict=True):
        [found] = table.search(vector.astype("f4")).metric("cosine").limit(1).to_list()
        assert found["uri"] == each.uri
    assert database.open_table("photos__failures").count_rows() == 0
