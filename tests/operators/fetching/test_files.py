"""Local files are read below the allowed roots, wherever links and dots lead."""

import os
from pathlib import Path

import pytest

from operators.fetching.attempt import FetchError, Limits
from operators.fetching.files import FileReader

LIMITS = Limits(max_bytes=1000, connect_s=1, first_byte_s=1, object_s=1)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "root"
    (root / "in").mkdir(parents=True)
    (root / "in" / "a b.jpg").write_bytes(b"inside")
    (tmp_path / "secret").write_bytes(b"outside")
    (tmp_path / "root-beside").mkdir()
    (tmp_path / "root-beside" / "s").write_bytes(b"outside")
    return root


def error_of(root: Path, path: str) -> str:
    with pytest.raises(FetchError) as caught:
        FileReader(LIMITS, [str(root)]).read(path, {})
    return str(caught.value.error_class)


def test_a_file_gives_its_bytes_and_a_stable_etag(root: Path) -> None:
    (root / "link.jpg").symlink_to("in/a b.jpg")
    reader = FileReader(LIMITS, [str(root)])
    found = reader.read(str(root / "in" / "a b.jpg"), {})
    assert found.data == b"inside"
    assert found.etag == reader.read(f"{root}/in/../link.jpg", {}).etag
    assert found.etag == f"{os.stat(root / 'in' / 'a b.jpg').st_mtime_ns:x}-6"


def test_nothing_outside_the_roots_is_read(root: Path) -> None:
    (root / "out").symlink_to(root.parent / "secret")
    (root / "folder").symlink_to(root.parent)
    for path in ("out", "../secret", "folder/secret", "../root-beside/s", "in/../../secret"):
        assert error_of(root, f"{root}/{path}") == "blocked_source"
    assert error_of(root, "/dev/zero") == "blocked_source"
    with pytest.raises(FetchError, match="allowed_roots"):
        FileReader(LIMITS, []).read(str(root / "in" / "a b.jpg"), {})


def test_links_into_the_roots_are_followed_from_anywhere(root: Path) -> None:
    (root.parent / "link.jpg").symlink_to(root / "in" / "a b.jpg")
    (root.parent / "linked").symlink_to(root / "in")
    (root / "again.jpg").symlink_to(root.parent / "link.jpg")
    reader = FileReader(LIMITS, [str(root)])
    folders: dict[str, str] = {}
    for path in ("link.jpg", "linked/a b.jpg", "root/again.jpg", "root/in/../in/a b.jpg"):
        assert reader.read(f"{root.parent}/{path}", folders).data == b"inside"


def test_a_folder_exchanged_for_a_link_is_noticed_though_its_place_is_known(root: Path) -> None:
    reader = FileReader(LIMITS, [str(root)])
    folders: dict[str, str] = {}
    assert reader.read(str(root / "in" / "a b.jpg"), folders).data == b"inside"
    (root / "in").rename(root / "was")
    (root / "in").symlink_to(root.parent)
    with pytest.raises(FetchError) as caught:
        reader.read(str(root / "in" / "secret"), folders)
    assert str(caught.value.error_class) == "blocked_source"


def test_only_regular_files_are_read(root: Path) -> None:
    os.mkfifo(root / "pipe")
    assert error_of(root, str(root / "pipe")) == "blocked_source"
    assert error_of(root, str(root / "in")) == "blocked_source"
    assert error_of(root, str(root)) == "blocked_source"


def test_paths_that_name_nothing(root: Path) -> None:
    (root / "loop").symlink_to("loop")
    assert error_of(root, f"{root}/none") == "not_found"
    assert error_of(root, f"{root}/in/a b.jpg/x") == "not_found"
    assert error_of(root, f"{root}/a\0b") == "bad_uri"
    assert error_of(root, "in/a b.jpg") == "bad_uri"
    assert error_of(root, f"{root}/{'x' * 300}") == "bad_uri"
    assert error_of(root, f"{root}/loop") == "bad_uri"


def test_the_size_limit_is_inclusive(root: Path) -> None:
    (root / "fits").write_bytes(bytes(1000))
    (root / "big").write_bytes(bytes(1001))
    assert len(FileReader(LIMITS, [str(root)]).read(str(root / "fits"), {}).data) == 1000
    assert error_of(root, str(root / "big")) == "too_large"
