"""Symbolic links in the folders that may be read: where each leads, and whether what lies there may be read too.

A link that leads outside is followed where whoever made it gives away nothing but his own: all links on the way belong
to the owner of the file, or to root (Apache's `SymLinksIfOwnerMatch` is such a rule), and the file lies in no system
folder.
"""

import errno
import os
import stat
from collections.abc import Sequence
from dataclasses import dataclass

SYSTEM_FOLDERS = frozenset(
    [
        "bin",
        "boot",
        "dev",
        "etc",
        "lib",
        "lib32",
        "lib64",
        "libx32",
        "proc",
        "run",
        "sbin",
        "sys",
        "usr",
        "var",
        "Library",
        "System",
        "private",
    ]
)
"""First parts of the paths of what belongs to the system: Linux's by the Filesystem Hierarchy Standard, and macOS's."""
_MOST_LINKS = 40
"""As the Linux kernel allows on one path."""


@dataclass(frozen=True)
class Followed:
    """Where a path leads."""

    real: str
    """Absolute, without links."""
    owners: frozenset[int]
    """User ids of the links on the way."""


def follow(path: str) -> Followed:
    """The absolute path with all its links followed. Raises `OSError` where there is nothing."""
    rest = _parts(path)
    real, owners, num_links = "", set[int](), 0
    while rest:
        part = rest.pop()
        if part == "..":
            real = real.rpartition("/")[0]
            continue
        found = os.lstat(f"{real}/{part}")
        if not stat.S_ISLNK(found.st_mode):
            real = f"{real}/{part}"
            continue
        owners.add(found.st_uid)
        num_links += 1
        if num_links > _MOST_LINKS:
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), path)
        target = os.readlink(f"{real}/{part}")
        real = "" if target.startswith("/") else real
        rest += _parts(target)
    return Followed(real or "/", frozenset(owners))


def _parts(path: str) -> list[str]:
    return [part for part in reversed(path.split("/")) if part not in ("", ".")]


def why_not(followed: Followed, owner: int) -> str | None:
    """Why a file of the user id `owner`, outside the folders, is not read by the links to it; None where it is."""
    if followed.real.split("/")[1] in SYSTEM_FOLDERS:
        return "which is the system's"
    if not followed.owners <= {0, owner}:
        return "whose owner is not the link's"
    return None


class Roots:
    """The folders that may be read, by the names that the user gave and by their real paths."""

    def __init__(self, roots: Sequence[str]) -> None:
        self._real = tuple(os.path.realpath(root) for root in roots)
        self._named = tuple((os.path.abspath(root), real) for root, real in zip(roots, self._real, strict=True))

    def hold(self, real: str) -> bool:
        """Whether a path without links lies below them."""
        return any(_below(real, root) for root in self._real)

    def followed(self, path: str) -> Followed | None:
        """Where the links below the root lead, of a path that by its name lies in one; None of another path. Links
        above are the user's own words. Raises `OSError`."""
        for named, real in self._named:
            if _below(path, named) and os.path.normpath(path) == path:
                return follow(real + path[len(named.rstrip("/")) :])
        return None


def _below(path: str, root: str) -> bool:
    return path == root or path.startswith(root.rstrip("/") + "/")


class LinksOutside:
    """Counts the links among listed files by which nothing is read."""

    def __init__(self, roots: Sequence[str]) -> None:
        self._roots = Roots(roots)
        self._count = 0
        self._folders: dict[str, str] = {}
        """First part of the targets' paths -> the folder that holds all that begin with it."""

    def see(self, path: str) -> None:
        """The absolute path of a listed link."""
        try:
            followed = self._roots.followed(path)
            if followed is None or self._roots.hold(followed.real):
                return
            if why_not(followed, os.stat(followed.real).st_uid) is None:
                return
        except OSError:
            return  # the row's own failure says what it is
        self._count += 1
        folder = os.path.dirname(followed.real)
        first = folder.split("/")[1]
        self._folders[first] = os.path.commonpath([self._folders.get(first, folder), folder])

    def notices(self) -> tuple[str, ...]:
        """One line that says how many they are and which option allows them, or none."""
        if not self._count:
            return ()
        folders = sorted(self._folders.values())
        return (
            f"{self._count:,} of the files are links that lead outside, to what is another user's or the system's "
            f"({', '.join(folders)}), and are not read (blocked_source); {allow(folders)} allows it",
        )


def allow(folders: Sequence[str]) -> str:
    """The option that lets the folders be read."""
    return f"--set 'fetch.allowed_roots=[{', '.join(folders)}]'"
