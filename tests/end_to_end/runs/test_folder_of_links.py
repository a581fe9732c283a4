"""A folder whose images are links to elsewhere: one's own are read, others are told, and such a run is no success."""

import os
from pathlib import Path

import pytest

from end_to_end.audit import audit
from end_to_end.command import embed_here, pixlake_here
from made.sources import make_folder


def test_links_to_ones_own_files_are_embedded(tmp_path: Path) -> None:
    """As in Hugging Face's cache: `snapshots/HASH/*.jpg` are links into `blobs/`."""
    stored = make_folder(tmp_path / "blobs", range(4))
    (tmp_path / "snapshot").mkdir()
    for each in stored:
        name = os.path.basename(str(each.uri))
        (tmp_path / "snapshot" / name).symlink_to(f"../blobs/{name}")
    expected = [type(each)(str(each.uri).replace("/blobs/", "/snapshot/"), each.number) for each in stored]
    ended = embed_here(f"{tmp_path}/snapshot", f"{tmp_path}/lake/photos", "--json")
    assert (ended.code, ended.json["vectors"]) == (0, 4), ended.err
    audit(f"{tmp_path}/lake/photos", expected)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_links_to_another_user_s_files_end_in_exit_code_4_and_the_remedy_works(tmp_path: Path) -> None:
    stored = make_folder(tmp_path / "theirs", range(3))
    (tmp_path / "photos").mkdir()
    for each in stored:
        os.chown(str(each.uri), 1000, 1000)
        link = tmp_path / "photos" / os.path.basename(str(each.uri))
        link.symlink_to(str(each.uri))
        os.chown(link, 1001, 1001, follow_symlinks=False)
    table = f"{tmp_path}/lake/photos"
    option = f"--set 'fetch.allowed_roots=[{tmp_path}/theirs]'"
    ended = embed_here(f"{tmp_path}/photos", table)
    assert ended.code == 4
    assert "3 of the files are links that lead outside" in ended.err
    assert option in ended.err
    reason, remedy = ended.out.splitlines()[-2:]
    assert reason.startswith("  most often: blocked_source, 3 rows, such as: a link that leads outside")
    assert option in reason
    assert remedy.endswith("--retry-failed blocked_source")
    assert option in pixlake_here("failures", table).out
    allowed = embed_here(
        f"{tmp_path}/photos", table, "--set", f"fetch.allowed_roots=[{tmp_path}/theirs]", "--retry-failed"
    )
    assert allowed.code == 0, allowed.err
    assert "complete, 3 vectors and 0 failures" in allowed.out
