"""Regions cut by the decode process and without it: the right pixels at the right boxes, and failures in their rows."""

import io
import os
import signal
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from operators.base.arrays import flatten_lists, pixels_to_numpy
from operators.base.columns import HEIGHT, IMAGE_BYTES, REGIONS, WIDTH
from operators.base.errors import UserError
from operators.base.operator import Operator
from operators.crop import CropConfig
from operators.decode import Decode, DecodeConfig
from operators.decoding.pool import DecodePool
from operators.decoding.shared_rows import ROWS
from tests.operators.decoding.test_process import Sniper, png
from tests.operators.test_decode import PREPROCESS, batch, image, preprocess

SQUARE = [40.0, 20.0, 60.0, 40.0]
"""Where the red square lies in the upright image of 80 x 40."""
TURNED_BACK = {
    1: lambda p: p,
    2: lambda p: p[:, ::-1],
    3: lambda p: p[::-1, ::-1],
    4: lambda p: p[::-1],
    5: lambda p: p.swapaxes(0, 1),
    6: lambda p: np.rot90(p, 1),
    7: lambda p: p[::-1, ::-1].swapaxes(0, 1),
    8: lambda p: np.rot90(p, -1),
}
"""By EXIF orientation: the upright image to how a camera that writes this tag stores it."""
KINDS: dict[str, dict[str, Any]] = {
    "grid": {"kind": "grid", "rows": 2, "columns": 4, "whole": True},
    "tiles": {"kind": "tiles", "sizes": [40, 20]},
    "boxes": {"kind": "boxes", "column": "boxes", "labels": "labels", "scores": "scores"},
    "detector": {"kind": "detector", "model": "any"},
}
BOXES = [[0.0, 0.0, 20.0, 20.0], SQUARE, [60.0, 0.0, 80.0, 40.0]]


def with_square(orientation: int) -> bytes:
    upright = np.full((40, 80, 3), 90, np.uint8)
    upright[20:40, 40:60] = (250, 10, 10)
    stored = Image.fromarray(np.ascontiguousarray(TURNED_BACK[orientation](upright)))
    exif = Image.Exif()
    exif[0x0112] = orientation
    out = io.BytesIO()
    stored.save(out, "PNG", exif=exif)
    return out.getvalue()


def config(kind: str, *, isolate: bool, targets: Mapping[str, Any] = {"pixels": PREPROCESS}, **more: Any) -> Any:
    made = CropConfig if kind == "detector" else DecodeConfig
    return made.model_validate({"targets": dict(targets), "isolate": isolate, "regions": {**KINDS[kind], **more}})


def rows(images: list[bytes | None], boxes: Any = None) -> pa.Table:
    """Each image with three boxes (or `boxes`), as a manifest gives them and as a detector found them."""
    boxes = [BOXES] * len(images) if boxes is None else boxes
    labels = [each and ["a", None, "c"][: len(each)] for each in boxes]
    scores = [each and [0.5, 0.25, None][: len(each)] for each in boxes]
    found = [found_regions(each or []) for each in boxes]
    table = batch(images)
    table = table.append_column("boxes", pa.array(boxes, pa.list_(pa.list_(pa.float64()))))
    table = table.append_column("labels", pa.array(labels, pa.list_(pa.string())))
    table = table.append_column("scores", pa.array(scores, pa.list_(pa.float64())))
    return table.append_column(REGIONS, pa.array(found, REGIONS.type))


def found_regions(boxes: list[list[float]]) -> list[dict[str, Any]]:
    corners = ("x0", "y0", "x1", "y1")
    return [
        {"kind": "detection", "index": n, "box": dict(zip(corners, box, strict=False)), "label": "a", "score": 0.5}
        for n, box in enumerate(boxes)
    ]


def for_kind(kind: str, table: pa.Table) -> pa.Table:
    """What the operator of this kind is given: only a detector was there before."""
    return table if kind == "detector" else table.drop_columns([REGIONS.name])


def boxes_of(out: pa.Table, row: int) -> list[list[float]]:
    return [list(region["box"].values()) for region in out[REGIONS.name][row].as_py()]


@pytest.fixture(scope="module", params=["isolated", "here"])
def operators(request: pytest.FixtureRequest) -> Iterator[dict[str, Operator[Any]]]:
    made = {kind: config(kind, isolate=request.param == "isolated").build() for kind in KINDS}
    yield made
    for operator in made.values():
        operator.close()


@pytest.mark.parametrize("kind", KINDS)
def test_the_square_is_in_its_box_and_in_no_other_however_the_camera_was_held(
    operators: dict[str, Operator[Any]], kind: str
) -> None:
    images: list[bytes | None] = [with_square(orientation) for orientation in TURNED_BACK]
    out = operators[kind](for_kind(kind, rows(images)))
    assert out["error"].null_count == 8
    pixels, lengths = flatten_lists(out["pixels"])
    each = np.split(pixels_to_numpy(pixels, 32, 48), np.cumsum(lengths)[:-1])
    for row, cuts in enumerate(each):
        assert np.array_equal(cuts, each[0]), f"orientation {row + 1}"
        assert len(cuts) == len(boxes_of(out, row))
        reds = [round(float(cut[..., 0].mean())) for cut in cuts]
        assert max(range(len(reds)), key=reds.__getitem__) == boxes_of(out, row).index(SQUARE)
        assert sorted(reds)[-1] == 250
        assert sorted(reds)[-2] < 200


def test_what_regions_are_called_and_which_are_there(operators: dict[str, Operator[Any]]) -> None:
    table = rows([with_square(6)])
    grid = operators["grid"](for_kind("grid", table))[REGIONS.name][0].as_py()
    assert [region["kind"] for region in grid] == ["whole"] + ["grid"] * 8
    assert [region["index"] for region in grid] == list(range(9))
    tiles = operators["tiles"](for_kind("tiles", table))
    assert len(boxes_of(tiles, 0)) == 2 + 8
    assert boxes_of(tiles, 0)[:2] == [[0, 0, 40, 40], [40, 0, 80, 40]]
    boxes = operators["boxes"](for_kind("boxes", table))[REGIONS.name][0].as_py()
    assert [(r["kind"], r["label"], r["score"]) for r in boxes] == [
        ("box", "a", 0.5),
        ("box", None, 0.25),
        ("box", "c", None),
    ]
    assert operators["detector"](table)[REGIONS.name].equals(table[REGIONS.name])


def test_a_cut_is_brought_to_the_models_size_by_resize() -> None:
    """The left half is black, the right half white; the box is 60 x 20, the model reads 32 x 48."""
    pixels = np.zeros((40, 80, 3), np.uint8)
    pixels[:, 30:] = 255
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "PNG")
    table = rows([out.getvalue()], [[[0.0, 10.0, 60.0, 30.0]]])
    table = table.drop_columns([REGIONS.name, "labels", "scores"])
    cuts = {}
    for resize in ("squash", "longest", "shortest"):
        options = {"kind": "boxes", "column": "boxes", "resize": resize}
        target = PREPROCESS.model_copy(update={"fill": (9, 9, 9)})
        made = DecodeConfig.model_validate({"targets": {"pixels": target}, "isolate": False, "regions": options})
        cuts[resize] = pixels_to_numpy(flatten_lists(made.build()(table)["pixels"])[0], 32, 48)[0, ..., 0]
    assert (cuts["squash"][:, 23] < 128).all()
    assert (cuts["squash"][:, 24] > 128).all()
    assert set(cuts["longest"][[0, 31]].ravel()) == {9}
    assert cuts["longest"][16, 23] < 128 < cuts["longest"][16, 24]
    assert (cuts["longest"] != 9).sum() == 16 * 48
    assert cuts["shortest"][0, 23] < 128 < cuts["shortest"][0, 24]
    assert (cuts["shortest"].min(), cuts["shortest"].max()) == (0, 255)


def test_the_whole_image_goes_as_the_model_itself_wants_it(operators: dict[str, Operator[Any]]) -> None:
    table = rows([with_square(1)])
    alone = DecodeConfig(targets={"pixels": PREPROCESS}, isolate=False).build()(batch([with_square(1)]))
    grid = operators["grid"](for_kind("grid", table))["pixels"][0].as_py()
    assert grid[0] == alone["pixels"][0].as_py()
    nothing = operators["boxes"](for_kind("boxes", rows([with_square(1)], [None]))).drop_columns(["labels", "scores"])
    assert nothing[REGIONS.name][0].as_py()[0]["kind"] == "whole"
    assert nothing["pixels"][0].as_py() == [alone["pixels"][0].as_py()]


def test_rows_that_cannot_have_their_regions_fail_alone(operators: dict[str, Operator[Any]]) -> None:
    good = with_square(1)
    boxes = [BOXES, [[0.0, 0.0, 5.0]], [[90.0, 0.0, 99.0, 9.0]], BOXES, [[0.0, 0.0, 1.0, 1.0]] * 65, BOXES]
    table = rows([good, good, good, b"no image", good, good], boxes)
    out = operators["boxes"](for_kind("boxes", table))
    classes = [None, "bad_regions", "bad_regions", "unsupported_format", "too_many_regions", None]
    assert out["error_class"].to_pylist() == classes
    assert "box 0 is [90.0, 0.0, 99.0, 9.0]: it lies outside the image of 80 x 40" in out["error"][2].as_py()
    for name in ("pixels", REGIONS.name, WIDTH.name, HEIGHT.name):
        assert [value is None for value in out[name].to_pylist()] == [kind is not None for kind in classes]
    assert out["pixels"][5].as_py() == out["pixels"][0].as_py()


def test_more_regions_than_the_memory_holds_at_a_time_come_in_turns() -> None:
    """70 rows of 0 to 6 tiles in slots for 32, for two targets, with failed rows among them; as each one alone."""
    images = [None if n % 9 == 4 else image(n, "JPEG", (16 + n, 16 + n % 3)) for n in range(70)]
    targets = {"pixels": PREPROCESS, "pixels_b": preprocess(20, resize="squash")}
    isolated = config("tiles", isolate=True, targets=targets, sizes=[16], max_regions=12).build()
    here = config("tiles", isolate=False, targets=targets, sizes=[16], max_regions=12).build()
    out = isolated(batch(images))
    isolated.close()
    assert out.equals(here(batch(images)))
    assert out.schema.equals(isolated.config.output_schema(batch(images).schema))
    lengths = [None if rows is None else len(rows) for rows in out["pixels"].to_pylist()]
    expected = [None if n % 9 == 4 else -(-(16 + n) // 16) * (1 if n % 3 == 0 else 2) for n in range(70)]
    assert lengths == expected
    assert sum(each or 0 for each in expected) > 5 * ROWS
    assert [each and len(each) for each in out["pixels_b"].to_pylist()] == expected
    assert [each and len(each) for each in out[REGIONS.name].to_pylist()] == expected
    for n in (0, 41, 69):
        alone = here(batch(images[n : n + 1]))
        assert alone["pixels"].to_pylist() == out["pixels"].slice(n, 1).to_pylist()


@pytest.mark.kill
def test_an_image_that_kills_its_process_costs_no_other_row_its_regions() -> None:
    slow = png(50, 5000)
    operator = config("grid", isolate=True, rows=4, columns=4).build()
    assert isinstance(operator._decoder, DecodePool)
    [decoder] = operator._decoder.processes
    images = [bytes(png(10 * n, 16)) for n in range(8)]
    images[5] = bytes(slow)
    with Sniper(decoder, 5, signal.SIGSEGV, times=2) as sniper:
        out = operator(batch(list(images)))
    operator.close()
    assert sniper.shots == 2
    assert out["error_class"].to_pylist() == [None] * 5 + ["decoder_crash"] + [None] * 2
    for n in (0, 1, 2, 3, 4, 6, 7):
        assert {cut[0] for cut in out["pixels"][n].as_py()} == {10 * n}
        assert len(out["pixels"][n]) == len(out[REGIONS.name][n]) == 17


@pytest.mark.kill
def test_a_process_killed_while_it_waits_for_free_memory_costs_no_row(monkeypatch: pytest.MonkeyPatch) -> None:
    """It has decoded a row whose regions do not fit beside those that are there."""
    from operators.decoding import process as decode_process

    ask, killed = decode_process._Child.ask, []

    def killed_after_the_first_answer(child: decode_process._Child, records: np.ndarray, wall_s: float) -> object:
        cause = ask(child, records, wall_s)
        if not killed:
            killed.append(child.pid)
            os.kill(child.pid, signal.SIGKILL)
        return cause

    monkeypatch.setattr(decode_process._Child, "ask", killed_after_the_first_answer)
    operator = config("grid", isolate=True, rows=4, columns=4).build()
    images = [bytes(png(10 * n, 16)) for n in range(12)]
    out = operator(batch(list(images)))
    operator.close()
    assert killed
    assert out["error_class"].null_count == 12
    assert [cuts[16][0] for cuts in out["pixels"].to_pylist()] == [10 * n for n in range(12)]


@pytest.mark.parametrize("kind", [pa.float32(), pa.list_(pa.float32()), pa.list_(pa.float32(), 4)], ids=str)
def test_a_column_that_cannot_hold_boxes_is_refused_where_the_plan_is_made(kind: pa.DataType) -> None:
    only_boxes = DecodeConfig.model_validate(
        {"targets": {"pixels": PREPROCESS}, "regions": {"kind": "boxes", "column": "boxes"}}
    )
    assert only_boxes.reads == {IMAGE_BYTES.name, "boxes"}
    with pytest.raises(UserError, match=r"column 'boxes' is .*; boxes of an image are a list of lists of four numbers"):
        only_boxes.output_schema(batch([]).schema.append(pa.field("boxes", kind)))
    for fits in (pa.string(), pa.list_(pa.list_(pa.int32())), pa.list_(pa.list_(pa.float32(), 4))):
        assert REGIONS.name in only_boxes.output_schema(batch([]).schema.append(pa.field("boxes", fits))).names


def test_regions_are_part_of_the_space_and_a_decode_without_them_says_nothing_of_them() -> None:
    plain = DecodeConfig(targets={"pixels": PREPROCESS})
    assert "regions" not in plain.space("pixels")
    cut = config("grid", isolate=True)
    assert cut.space("pixels") == plain.space("pixels") | {"regions": cut.regions.record()}
    assert Decode(config("grid", isolate=False)).config.space("vector") == {}


def test_the_bytes_are_kept_for_a_later_operator_where_asked() -> None:
    kept = DecodeConfig(targets={"pixels": PREPROCESS}, isolate=False, keep_bytes=True)
    table = batch([image(1)])
    out = kept.build()(table)
    assert out[IMAGE_BYTES.name].equals(table[IMAGE_BYTES.name])
    assert out.schema.equals(kept.output_schema(table.schema))
