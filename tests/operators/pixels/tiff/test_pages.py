"""The picture of a TIFF is its full-sized page; a raw camera file is refused, and never embedded from its thumbnail."""

import numpy as np
import pytest

from made.tiffs import Directory, directory, tiff_file
from operators.base.errors import BadImage, ErrorClass
from operators.pixels.images import DecodeRules, decode

RULES = DecodeRules(max_pixels=1_000_000)
RED, BLUE = np.array([200, 10, 10]), np.array([10, 10, 200])
FULL, REDUCED, MASK = (4, [0]), (4, [1]), (4, [4])


def page(colour: np.ndarray, side: int, kind: tuple[int, list[int]] | None = None, **options: object) -> Directory:
    tags = options.pop("tags", {}) | ({} if kind is None else {254: kind})  # type: ignore[operator]
    return directory(np.tile(colour, (side, side, 1)), photometric=2, tags=tags, **options)  # type: ignore[arg-type]


def sensor(photometric: int = 32803, **tags: tuple[int, list[int]]) -> Directory:
    """What a camera's sensor saw, of 12 bits."""
    return directory(np.full((32, 32, 1), 900), photometric=photometric, bits=12, tags={254: FULL, **tags})


def text(words: str) -> tuple[int, list[int]]:
    return 2, [*words.encode(), 0]


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("big", [False, True])
def test_a_thumbnail_before_the_picture_is_passed_over(order: str, big: bool) -> None:
    """TIFF 6.0, NewSubfileType: bit 0 marks a reduced-resolution version of another image in the file."""
    small, full = page(RED, 8, REDUCED, order=order), page(BLUE, 40, FULL, order=order)
    mask = page(RED, 40, MASK, order=order)
    old = page(RED, 8, tags={255: (3, [2])}, order=order)
    under = page(RED, 8, REDUCED, order=order, below=[small, full])
    for pages in ([small, full], [mask, small, full], [old, full], [under], [full, small], [full, page(RED, 40)]):
        pixels = decode(tiff_file(pages, order=order, big=big), RULES).pixels
        assert pixels.shape == (40, 40, 3)
        assert (pixels == BLUE).all()


def test_the_pixel_limit_is_that_of_the_page_that_is_read() -> None:
    data = tiff_file([page(RED, 8, REDUCED), page(BLUE, 40, FULL)])
    with pytest.raises(BadImage, match="40 x 40 pixels") as caught:
        decode(data, DecodeRules(max_pixels=1000))
    assert caught.value.error_class is ErrorClass.TOO_MANY_PIXELS


def test_pages_that_are_all_smaller_versions_are_refused_and_a_lonely_one_is_read() -> None:
    assert (decode(tiff_file([page(RED, 8, REDUCED)]), RULES).pixels == RED).all()
    refused(tiff_file([page(RED, 8, REDUCED), page(RED, 4, REDUCED)]), "smaller versions or masks")


@pytest.mark.parametrize(
    ("maker", "kind"),
    [
        ("NIKON CORPORATION", "NEF"),
        ("SONY", "ARW"),
        ("PENTAX Corporation", "PEF"),
        ("SAMSUNG", "SRW"),
        ("New", "of a camera"),
    ],
)
@pytest.mark.parametrize("order", ["<", ">"])
def test_a_raw_file_is_told_by_what_its_sensor_saw(maker: str, kind: str, order: str) -> None:
    """Wherever it is: below the thumbnail (NEF, ARW), after it, or first (PEF)."""
    saw = directory(np.full((32, 32, 1), 900), photometric=32803, bits=16, order=order, tags={254: FULL})
    first = {271: text(maker)}
    below = page(RED, 8, REDUCED, order=order, tags=first, below=[page(RED, 16, REDUCED, order=order), saw])
    after = page(RED, 8, REDUCED, order=order, tags=first)
    unmarked = page(RED, 8, order=order, tags=first, below=[saw])
    saw_first = directory(np.full((32, 32, 1), 900), photometric=32803, bits=16, order=order, tags=first)
    for pages in ([below], [after, saw], [unmarked], [saw_first, page(RED, 8, order=order)]):
        refused(tiff_file(pages, order=order), f"raw camera file ({kind})")


def test_dng_cr2_and_others_that_say_so_themselves() -> None:
    version = {50706: (1, [1, 4, 0, 0])}
    refused(tiff_file([page(RED, 8, REDUCED, tags=version, below=[sensor()])]), "(DNG)")
    refused(tiff_file([page(RED, 8, REDUCED, below=[sensor(34892)])]), "raw camera file")
    refused(tiff_file([page(RED, 8, tags=version)]), "(DNG)")
    thumbnail = tiff_file([page(RED, 8)])
    at = int.from_bytes(thumbnail[4:8], "little")
    listed = thumbnail[at:]  # the same directory once more, where Canon has it: behind 16 bytes of header
    canon = b"II*\0" + (16).to_bytes(4, "little") + b"CR\2\0" + b"\0" * 4 + listed + thumbnail
    refused(canon, "(CR2)")
    phase_one = thumbnail[:8] + b"IIII\4waR" + thumbnail[16:]
    refused(phase_one, "(IIQ)")


def test_other_raw_files_are_named() -> None:
    """Headers as ExifTool and LibRaw tell them."""
    heads = {"IIRO\x08": "ORF", "IIRS\x08": "ORF", "MMOR": "ORF", "IIU\0\x18": "RW2", "FUJIFILMCCD-RAW 0201": "RAF"}
    heads |= {"\0\0\0\x18ftypcrx ": "CR3", "II\x1a\0\0\0HEAPCCDR": "CRW", "\0MRM": "MRW", "FOVb": "X3F"}
    for head, kind in heads.items():
        refused(head.encode("latin-1") + b"\0" * 100, f" {kind})")


def test_a_picture_whose_samples_look_like_a_camera_is_read() -> None:
    """libtiff writes them from byte 8 on, where Canon and Phase One have their marks."""
    for samples in (b"CR\2\0", b"IIII"):
        colour = np.frombuffer(samples * 48, np.uint8).reshape(8, 8, 3)
        pixels = decode(tiff_file([directory(colour, photometric=2)]), RULES).pixels
        np.testing.assert_array_equal(pixels, colour)


def test_directories_in_a_circle_or_far_away_end() -> None:
    data = bytearray(tiff_file([page(RED, 8, REDUCED)]))
    at = int.from_bytes(data[4:8], "little")
    data[-4:] = at.to_bytes(4, "little")
    assert (decode(bytes(data), RULES).pixels == RED).all()
    data[-4:] = b"\xff\xff\xff\x7f"
    assert (decode(bytes(data), RULES).pixels == RED).all()


def refused(data: bytes, words: str) -> None:
    with pytest.raises(BadImage) as caught:
        decode(data, RULES)
    assert caught.value.error_class is ErrorClass.UNSUPPORTED_FORMAT
    assert words in str(caught.value)
