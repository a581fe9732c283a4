"""Local files are read below the allowed roots, wherever links and dots lead."""

import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from operators.fetching.attempt import FetchError, Limits
from operators.fetching.files import FILE_THREADS, PIECE_BYTES, FileBlock, FileReader, run_all
from operators.fetching.spans import ByteSpan
from operators.storage.uris import file_version

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


def block() -> FileBlock:
    return FileBlock(lambda: memoryview(bytearray(PIECE_BYTES)))


def error_of(root: Path, path: str) -> str:
    with pytest.raises(FetchError) as caught:
        FileReader(LIMITS, [str(root)]).read(path, block())
    return str(caught.value.error_class)


def test_a_file_gives_its_bytes_and_a_stable_etag(root: Path) -> None:
    (root / "link.jpg").symlink_to("in/a b.jpg")
    reader = FileReader(LIMITS, [str(root)])
    found = reader.read(str(root / "in" / "a b.jpg"), block())
    assert found.data == b"inside"
    assert found.etag == reader.read(f"{root}/in/../link.jpg", block()).etag
    assert found.etag == f"{os.stat(root / 'in' / 'a b.jpg').st_mtime_ns:x}-6"


def test_nothing_outside_the_roots_is_read(root: Path) -> None:
    for path in ("../secret", "../root-beside/s", "in/../../secret", "in/../out"):
        assert error_of(root, f"{root}/{path}") in ("blocked_source", "not_found")
    (root / "out").symlink_to(root.parent)
    for path in ("../secret", "../root-beside/s", "in/../../secret", "out/../secret", "in/../out/secret"):
        assert error_of(root, f"{root}/{path}") == "blocked_source"
    assert error_of(root, "/dev/zero") == "blocked_source"
    with pytest.raises(FetchError, match=rf"outside the folders .*allowed_roots=\[{root}/in\]"):
        FileReader(LIMITS, []).read(str(root / "in" / "a b.jpg"), block())


def test_a_link_in_the_roots_is_read_wherever_its_owner_s_file_lies(root: Path) -> None:
    """A link that one made to one's own file gives away nothing that one could not read."""
    (root / "out.jpg").symlink_to(root.parent / "secret")
    (root / "again.jpg").symlink_to("out.jpg")
    (root / "folder").symlink_to(root.parent / "root-beside")
    (root.parent / "named").symlink_to(root)
    for named in (root, root.parent / "named"):
        reader, shared = FileReader(LIMITS, [str(named)]), block()
        for path in ("out.jpg", "again.jpg", "folder/s"):
            assert reader.read(f"{named}/{path}", shared).data == b"outside"
    span = ByteSpan(str(root / "out.jpg"), file_version(7, os.stat(root / "out.jpg").st_mtime_ns), 0, 3, [])
    assert FileReader(LIMITS, [str(root)]).read_span(span).data == b"out"


def test_a_link_to_what_is_the_system_s_is_not_read_and_said_to_be_one(root: Path) -> None:
    (root / "name.jpg").symlink_to("/etc/hostname")
    with pytest.raises(FetchError, match=r"a link that leads outside .*to /etc/hostname, which is the system's; --set"):
        FileReader(LIMITS, [str(root)]).read(str(root / "name.jpg"), block())
    assert FileReader(LIMITS, [str(root), "/etc"]).read(str(root / "name.jpg"), block()).data


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_a_link_that_somebody_else_made_to_the_user_s_file_is_not_followed(root: Path) -> None:
    (root / "planted.jpg").symlink_to(root.parent / "secret")
    os.chown(root.parent / "secret", 1000, 1000)
    FileReader(LIMITS, [str(root)]).read(str(root / "planted.jpg"), block())
    os.chown(root / "planted.jpg", 1001, 1001, follow_symlinks=False)
    with pytest.raises(FetchError, match=r"whose owner is not the link's; --set 'fetch.allowed_roots="):
        FileReader(LIMITS, [str(root)]).read(str(root / "planted.jpg"), block())


def test_a_link_to_nothing_is_said_to_be_one(root: Path) -> None:
    (root / "gone.jpg").symlink_to(root.parent / "gone")
    (root / "gone.inside.jpg").symlink_to("gone")
    for name in ("gone.jpg", "gone.inside.jpg"):
        with pytest.raises(FetchError, match="a link that leads to nothing"):
            FileReader(LIMITS, [str(root)]).read(str(root / name), block())


def test_links_into_the_roots_are_followed_from_anywhere(root: Path) -> None:
    (root.parent / "link.jpg").symlink_to(root / "in" / "a b.jpg")
    (root.parent / "linked").symlink_to(root / "in")
    (root / "again.jpg").symlink_to(root.parent / "link.jpg")
    reader = FileReader(LIMITS, [str(root)])
    folders = block()
    for path in ("link.jpg", "linked/a b.jpg", "root/again.jpg", "root/in/../in/a b.jpg"):
        assert reader.read(f"{root.parent}/{path}", folders).data == b"inside"


def test_a_folder_exchanged_for_a_link_is_noticed_though_its_place_is_known(root: Path) -> None:
    reader = FileReader(LIMITS, [str(root)])
    folders = block()
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
    assert len(FileReader(LIMITS, [str(root)]).read(str(root / "fits"), block()).data) == 1000
    assert error_of(root, str(root / "big")) == "too_large"


@pytest.mark.parametrize("path", ["/proc/self/status", "/sys/kernel/mm/transparent_hugepage/enabled"])
@pytest.mark.skipif(not os.path.isdir("/sys/kernel"), reason="Linux has files that hold more or less than they say")
def test_a_file_that_is_longer_or_shorter_than_it_was_is_not_taken(path: str) -> None:
    limits = replace(LIMITS, max_bytes=100_000)
    with pytest.raises(FetchError, match="changed its size") as caught:
        FileReader(limits, ["/proc", "/sys"]).read(path, block())
    assert str(caught.value.error_class) == "source_changed"


@pytest.mark.parametrize(
    ("seconds", "were_slow", "threads"),
    [
        (0.0009, False, 1),
        (0.0009, True, 1),
        (0.0011, False, 1),
        (0.0011, True, FILE_THREADS),
        (0.02, False, FILE_THREADS),
    ],
)
def test_others_help_where_files_are_slow(seconds: float, were_slow: bool, threads: int) -> None:
    """By a clock of its own; a thread rests in each file, for others to have their turn."""
    read: list[tuple[int, int]] = []

    def reading(file: int) -> None:
        time.sleep(0.005)
        read.append((file, threading.get_ident()))

    with ThreadPoolExecutor(FILE_THREADS - 1) as helpers:
        reads = [lambda file=file: reading(file) for file in range(40)]
        slow = run_all(reads, helpers, lambda: seconds * len(read), were_slow=were_slow)
        assert slow == (threads > 1)
        assert run_all([], helpers, were_slow=slow) == slow
        assert sorted(file for file, _ in read) == list(range(40))
    assert len({thread for _, thread in read}) == threads


def test_what_a_helper_raises_is_raised() -> None:
    def broken() -> None:
        time.sleep(0.02)
        if threading.current_thread() is not threading.main_thread():
            raise RuntimeError("of a helper")

    with ThreadPoolExecutor(FILE_THREADS - 1) as helpers, pytest.raises(RuntimeError, match="of a helper"):
        run_all([broken] * 20, helpers)
