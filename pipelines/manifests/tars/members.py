"""The members of one tar: where each one's bytes lie. Names are data; nothing is ever unpacked."""

import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from tarfile import HeaderError
from typing import Any, Self, cast

from operators.base.errors import printable
from pipelines.manifests.files import SourceFile
from pipelines.manifests.tars.notes import TarNotes
from pipelines.manifests.tars.streams import ByteStream

MAX_HEADER_BYTES = 1 << 20
"""An extended header (PAX, a long name) is read whole; one that says it is larger is taken for a broken one."""
_EXTENDED = (
    tarfile.XHDTYPE,
    tarfile.XGLTYPE,
    tarfile.SOLARIS_XHDTYPE,
    tarfile.GNUTYPE_LONGNAME,
    tarfile.GNUTYPE_LONGLINK,
)
_REST_BYTES = 1 << 20
_Zeros: type[HeaderError] = tarfile.EOFHeaderError  # type: ignore[attr-defined]
_Nothing: type[HeaderError] = tarfile.EmptyHeaderError  # type: ignore[attr-defined]
_Invalid: type[HeaderError] = tarfile.InvalidHeaderError  # type: ignore[attr-defined]
_BROKEN = (tarfile.TarError, ValueError, IndexError, OverflowError, RecursionError)
"""What the standard library raises at headers that are none, or that were made to be hard."""


@dataclass(frozen=True, slots=True)
class TarMember:
    """A file in a tar."""

    name: str
    """As the tar has it, without a leading `./`; lone surrogates where it is not UTF-8."""
    offset: int
    """Its first byte within the tar."""
    size: int
    problem: str | None = None
    """Why its bytes are not there, or not in one piece."""


def read_members(file: SourceFile, stream: ByteStream, notes: TarNotes) -> Iterator[TarMember]:
    """Files and links in the tar's order. The stream stands at a member's bytes while that member is out.

    A tar that breaks off or is broken ends there, and `notes` says so: what is whole comes out. A member whose bytes
    end with the tar comes out with its problem.
    """
    archive: _Tar | None = None
    try:
        archive = _Tar(fileobj=cast(Any, stream), mode="r", encoding="utf-8", errors="surrogateescape")
        while (header := archive.next()) is not None:
            # They are kept for ever otherwise.
            archive.members.clear()  # type: ignore[attr-defined]
            member = _member(header, file.size)
            if member is not None:
                yield member
    except _BROKEN as error:
        at = archive.offset if archive is not None else 0
        if at >= file.size > 0:
            notes.broken(file.uri, f"is cut off at byte {file.size:,}: what lay behind is not there")
        else:
            notes.broken(file.uri, _reason(error, at, file.size))
        return
    _check_end(file, stream, archive, notes)


def _member(header: tarfile.TarInfo, tar_bytes: int) -> TarMember | None:
    name = header.name.removeprefix("./")
    if header.islnk() or header.issym():
        return TarMember(name, header.offset_data, 0, "a link within the tar, not a file; pack the file itself")
    if not header.isreg():
        return None
    if header.issparse():
        return TarMember(name, header.offset_data, 0, "packed as a sparse file, with holes; pack it without --sparse")
    missing = header.offset_data + header.size - tar_bytes
    if missing > 0:
        return TarMember(name, header.offset_data, header.size, f"the tar ends {missing:,} bytes before its end")
    return TarMember(name, header.offset_data, header.size)


def _check_end(file: SourceFile, stream: ByteStream, archive: "_Tar", notes: TarNotes) -> None:
    """Blocks of zeros end a tar, and behind them are more zeros, or nothing."""
    if isinstance(archive.ended, _Nothing):
        notes.broken(file.uri, "has no end mark: it may have been cut off behind its last member")
        return
    if not isinstance(archive.ended, _Zeros):
        notes.broken(file.uri, _reason(archive.ended, archive.offset, file.size))
        return
    while rest := stream.read(_REST_BYTES):
        if rest.count(0) != len(rest):
            notes.broken(
                file.uri,
                f"ends at byte {archive.offset:,} of {file.size:,}, and what lies behind is not read: tars are not "
                "joined with cat",
            )
            return


def _reason(error: object, at: int, size: int) -> str:
    if not size:
        return "is empty"
    what = "is not a tar" if not at else f"is broken at byte {at:,} of {size:,}, and what lies behind is not read"
    return f"{what} ({printable(str(error))})"


class _Header(tarfile.TarInfo):
    """One header. It is bounded, and tells the archive what has ended it."""

    @classmethod
    def fromtarfile(cls, tarfile: tarfile.TarFile) -> Self:
        try:
            return super().fromtarfile(tarfile)
        except HeaderError as error:
            cast(_Tar, tarfile).ended = error
            raise

    def _proc_member(self, archive: tarfile.TarFile) -> tarfile.TarInfo:
        if self.size < 0 or (self.type in _EXTENDED and self.size > MAX_HEADER_BYTES):
            raise _Invalid(f"a header of {self.size:,} bytes")
        header: tarfile.TarInfo = super()._proc_member(archive)  # type: ignore[misc]
        if header.size < 0:
            # By its PAX header: the standard library would go back, and round for ever (CVE-2025-8194).
            raise _Invalid(f"a member of {header.size:,} bytes")
        return header


class _Tar(tarfile.TarFile):
    tarinfo = _Header
    ended: HeaderError | None = None
    """What came in place of a header: zeros, nothing, or something else."""
