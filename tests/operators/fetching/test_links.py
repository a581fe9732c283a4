"""Where links lead, and which of them may be followed outside: the rule by itself."""

import errno
import os
from pathlib import Path

import pytest

from operators.fetching.links import Followed, LinksOutside, follow, why_not


def test_a_path_is_followed_as_the_system_follows_it(tmp_path: Path) -> None:
    """The other opinion is `os.path.realpath`."""
    (tmp_path / "a/b").mkdir(parents=True)
    (tmp_path / "a/b/file").write_text("x")
    (tmp_path / "one").symlink_to("a/b")
    (tmp_path / "two").symlink_to(tmp_path / "one")
    (tmp_path / "a/up").symlink_to("../two/../b/./file")
    for path in ("one/file", "two/file", "a/up", "two/../up", "a//b/file"):
        assert follow(f"{tmp_path}/{path}").real == os.path.realpath(tmp_path / path)
    assert follow(f"{tmp_path}/a/up").owners == {os.geteuid()}
    assert follow(f"{os.path.realpath(tmp_path)}/a/b/file").owners == frozenset()
    with pytest.raises(FileNotFoundError):
        follow(f"{tmp_path}/two/none")
    (tmp_path / "loop").symlink_to("loop")
    with pytest.raises(OSError, match=os.strerror(errno.ELOOP)):
        follow(f"{tmp_path}/loop")


@pytest.mark.parametrize(
    ("real", "links", "owner", "says"),
    [
        ("/data/x.jpg", {7}, 7, None),
        ("/data/x.jpg", {7, 0}, 7, None),
        ("/data/x.jpg", {0}, 7, None),
        ("/data/x.jpg", {7}, 0, "owner is not the link's"),
        ("/data/x.jpg", {7, 8}, 7, "owner is not the link's"),
        ("/etc/passwd", {0}, 0, "the system's"),
        ("/proc/self/environ", {7}, 7, "the system's"),
        ("/home/etc/x.jpg", {7}, 7, None),
    ],
)
def test_what_may_be_read(real: str, links: set[int], owner: int, says: str | None) -> None:
    reason = why_not(Followed(real, frozenset(links)), owner)
    assert reason is None if says is None else says in str(reason)


def test_links_outside_are_counted_and_the_option_for_them_is_named(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "own.jpg").write_text("x")
    for name, target in {
        "1": "/etc/hostname",
        "2": "/etc/ssl/openssl.cnf",
        "3": "/usr/bin/env",
        "4": "../own.jpg",
    }.items():
        if os.path.exists(target) or name == "4":
            (tmp_path / "in" / name).symlink_to(target)
    links = LinksOutside([str(tmp_path / "in")])
    for path in sorted((tmp_path / "in").iterdir()):
        links.see(str(path))
    links.see(str(tmp_path / "in/gone"))
    [notice] = links.notices()
    assert notice.startswith(f"{len(os.listdir(tmp_path / 'in')) - 1} of the files are links that lead outside")
    assert "--set 'fetch.allowed_roots=[/etc, /usr/bin]' allows it" in notice
    allowed = LinksOutside([str(tmp_path / "in"), "/etc", "/usr/bin"])
    for path in (tmp_path / "in").iterdir():
        allowed.see(str(path))
    assert allowed.notices() == ()
