"""The directories of a TIFF, and what each says of its image: TIFF 6.0, and BigTIFF, whatever the bytes hold."""

import struct
from collections.abc import Iterator
from dataclasses import dataclass

_CODES = {1: "B", 2: "B", 3: "H", 4: "I", 6: "b", 7: "B", 8: "h", 9: "i", 13: "I", 16: "Q", 17: "q", 18: "Q"}
"""Type of a tag -> code of `struct`; rationals and floats are not asked for."""
_WANTED = frozenset(
    {254, 255, 256, 257, 258, 259, 262, 266, 271, 273, 274, 277, 279, 284, 317, 320, 324, 325, 330, 332, 338, 339}
    | {529, 530, 532, 32997, 34310, 34675, 50706}
)
_NEEDED = frozenset({258, 273, 320, 324})
"""Without what these say where the file has it, there is no picture."""
_PRESENT = frozenset({529, 532})
"""Of these it counts that they are there."""
_MOST_TAGS = 4096
_MOST_VALUES = 4 * 1024 * 1024
_MOST_SAMPLES = 1 << 16
_REDUCED, _MASK = 1, 4

CHANNELS = {0: 1, 1: 1, 2: 3, 3: 1, 5: 4, 6: 3, 8: 3, 9: 3}
"""PhotometricInterpretation -> samples of a pixel that are its colour."""
UNSAID = -1
FAXES = frozenset({2, 3, 4})
"""Compressions of CCITT."""


@dataclass(frozen=True, kw_only=True)
class Page:
    """One directory: where it and the next one are in the file, and the values of its tags, by number."""

    at: int
    next: int
    big_endian: bool
    big: bool
    tags: dict[int, tuple[int, ...]]
    is_cut: bool
    """Whether something that the picture needs would lie behind the end of the file."""

    def value(self, tag: int, default: int) -> int:
        return next(iter(self.tags.get(tag, ())), default)

    @property
    def size(self) -> tuple[int, int]:
        """(width, height), as stored."""
        return self.value(256, 0), self.value(257, 0)

    @property
    def samples(self) -> int:
        """Samples of a pixel."""
        return min(self.value(277, 1), _MOST_SAMPLES)

    @property
    def bits(self) -> tuple[int, ...]:
        """Bits of each sample."""
        given = self.tags.get(258, (1,))
        return given * self.samples if len(given) == 1 else given[: self.samples]

    @property
    def formats(self) -> frozenset[int]:
        """1: unsigned, 2: signed, 3: floating point, 4: undefined, which is read as unsigned, 5 and 6: complex."""
        return frozenset(1 if value == 4 else value for value in self.tags.get(339, (1,)))

    @property
    def compression(self) -> int:
        return self.value(259, 1)

    @property
    def photometric(self) -> int:
        """What the samples are as colours; faxes alone may leave it out, and are white where there is nothing."""
        return self.value(262, 0 if self.compression in FAXES else UNSAID)

    @property
    def is_planar(self) -> bool:
        """Whether each sample is stored as an image of its own."""
        return self.value(284, 1) == 2 and self.samples > 1

    @property
    def is_mirrored(self) -> bool:
        """Whether the lowest bit of a byte is its first."""
        return self.value(266, 1) == 2

    @property
    def extra(self) -> tuple[int, ...]:
        """What each sample beyond the colour is: 0 unspecified, 1 alpha that the colour is multiplied with, 2 alpha.

        Where no tag says, a fourth sample beside red, green and blue is alpha, as in Pillow, GDAL and libtiff's tools.
        """
        count = max(0, self.samples - CHANNELS.get(self.photometric, self.samples))
        if 338 not in self.tags:
            return (2,) if (self.photometric, count) == (2, 1) else (0,) * count
        given = tuple(2 if value == 999 else value for value in self.tags[338])  # 999: Corel Draw's alpha
        return (given + (0,) * count)[:count]

    @property
    def is_reduced(self) -> bool:
        """Whether this is a smaller version, or the mask, of another image in the file."""
        if 254 in self.tags:
            return bool(self.value(254, 0) & (_REDUCED | _MASK))
        return self.value(255, 1) == 2

    @property
    def end(self) -> int:
        """Where in the file the last strip or tile ends; 0 where that is not said."""
        starts = self.tags.get(324) or self.tags.get(273, ())
        counts = self.tags.get(325) or self.tags.get(279, ())
        return max((start + count for start, count in zip(starts, counts, strict=False)), default=0)


def first_at(data: bytes) -> tuple[bool, bool, int]:
    """(whether big-endian, whether BigTIFF, where the first directory is) of a file of more than 8 bytes."""
    big_endian, big = data[:2] == b"MM", 43 in data[2:4]
    link = data[8:16] if big else data[4:8]
    return big_endian, big, int.from_bytes(link, "big" if big_endian else "little")


def beginning_at(data: bytes, page: Page) -> bytes:
    """The same file with `page` as its first directory, and so as its first image for any reader."""
    order = ">" if page.big_endian else "<"
    if page.big:
        return data[:8] + struct.pack(f"{order}Q", page.at) + data[16:]
    return data[:4] + struct.pack(f"{order}I", page.at) + data[8:]


def chain(data: bytes, most: int) -> Iterator[Page]:
    """The first `most` directories, each of which links to the next. Ends where one lies outside of the file."""
    big_endian, big, at = first_at(data)
    seen: set[int] = set()
    while at and at not in seen and len(seen) < most:
        seen.add(at)
        page = page_at(data, at, big_endian, big)
        if page is None:
            return
        yield page
        at = page.next


def below(data: bytes, page: Page, most: int) -> Iterator[Page]:
    """The first `most` directories that hang below a page (SubIFDs)."""
    for at in page.tags.get(330, ())[:most]:
        found = page_at(data, at, page.big_endian, page.big)
        if found is not None:
            yield found


def page_at(data: bytes, at: int, big_endian: bool, big: bool) -> Page | None:
    """The directory at a place in the file; None where it does not lie in there whole. Tags that do not are left
    out."""
    order = ">" if big_endian else "<"
    count_size, entry_size = (8, 20) if big else (2, 12)
    if not 0 < at <= len(data) - count_size:
        return None
    (count,) = struct.unpack_from(f"{order}{'Q' if big else 'H'}", data, at)
    end = at + count_size + count * entry_size
    if end > len(data):
        return None
    tags: dict[int, tuple[int, ...]] = {}
    is_cut = False
    for entry in range(at + count_size, min(end, at + count_size + _MOST_TAGS * entry_size), entry_size):
        (tag,) = struct.unpack_from(f"{order}H", data, entry)
        if tag in _WANTED and tag not in tags:
            values = (1,) if tag in _PRESENT else _values(data, entry, order, big)
            is_cut |= values is None and tag in _NEEDED
            if values:
                tags[tag] = values
    link = data[end : end + (8 if big else 4)]
    next_at = int.from_bytes(link, "big" if big_endian else "little")
    return Page(at=at, next=next_at, big_endian=big_endian, big=big, tags=tags, is_cut=is_cut)


def _values(data: bytes, entry: int, order: str, big: bool) -> tuple[int, ...] | None:
    """The numbers of one entry of a directory; empty where they are of another type, None where outside of the file."""
    offset, room = ("Q", 8) if big else ("I", 4)
    type_, count = struct.unpack_from(f"{order}H{offset}", data, entry + 2)
    code = _CODES.get(type_)
    if code is None or count > _MOST_VALUES:
        return ()
    layout, at = f"{order}{count}{code}", entry + 4 + room
    size = struct.calcsize(layout)
    if size > room:
        (at,) = struct.unpack_from(f"{order}{offset}", data, at)
    return struct.unpack_from(layout, data, at) if at + size <= len(data) else None
