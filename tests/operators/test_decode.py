"""The operator: columns in and out, failures in their rows, and the same pixels with and without the child process."""

import io
from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from operators.base.arrays import pixels_to_numpy
from operators.base.columns import ERROR_FIELDS, IMAGE_BYTES, SOURCE_SCHEMA
from operators.decode import Decode, DecodeConfig, share_pixels
from operators.decoding.pool import DecodePool
from operators.pixels.preprocess import Preprocess

PREPROCESS = Preprocess(
    height=32,
    width=48,
    resize="shortest",
    resize_height=32,
    resize_width=48,
    interpolation="bicubic",
    mean=(0.0, 0.0, 0.0),
    std=(1.0, 1.0, 1.0),
)
CONFIG = DecodeConfig(targets={"pixels": PREPROCESS}, max_pixels=1_000_000)
HERE = CONFIG.model_copy(update={"isolate": False})


def image(seed: int, format: str = "PNG", size: tuple[int, int] = (96, 64), **options: Any) -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 256, (*size[::-1], 3), dtype=np.uint8)
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, format, **options)
    return out.getvalue()


def batch(images: list[bytes | None], **failed: str) -> pa.Table:
    count = len(images)
    columns: dict[str, Any] = {
        "shard": pa.array([0] * count, pa.int32()),
        "row": pa.array(range(count), pa.int32()),
        "id": pa.array([str(n) for n in range(count)]),
        "uri": pa.array([f"file:///{n}.bin" for n in range(count)]),
        **{f.name: pa.nulls(count, f.type) for f in ERROR_FIELDS},
    }
    table = pa.Table.from_arrays(list(columns.values()), schema=SOURCE_SCHEMA)
    return table.append_column(IMAGE_BYTES, pa.array(images, IMAGE_BYTES.type))


MIXED: list[bytes | None] = [
    image(1),
    b"",
    image(2, "JPEG"),
    b"%PDF-1.4",
    image(3, "BMP", (1200, 1000)),
    image(4, "JPEG")[:800],
    None,
    image(5, "WEBP", (64, 200)),
]
CLASSES = [None, "corrupt", None, "unsupported_format", "too_many_pixels", "truncated", "corrupt", None]


@pytest.fixture(scope="module")
def isolated() -> Iterator[Decode]:
    operator = CONFIG.build()
    yield operator
    operator.close()


def test_columns_and_failures(isolated: Decode) -> None:
    table = batch(MIXED)
    out = isolated(table)
    assert out.schema.equals(CONFIG.output_schema(table.schema))
    assert IMAGE_BYTES.name not in out.column_names
    assert out["error_class"].to_pylist() == CLASSES
    assert out["error_stage"].to_pylist() == [c and "decode" for c in CLASSES]
    assert all(bool(text) == bool(c) for text, c in zip(out["error"].to_pylist(), CLASSES, strict=True))
    assert out["width"].to_pylist() == [96, None, 96, None, None, None, None, 64]
    assert out["height"].to_pylist() == [64, None, 64, None, None, None, None, 200]
    assert out["format"].to_pylist() == ["png", None, "jpeg", None, None, None, None, "webp"]
    assert out["pixels"].is_null().to_pylist() == [c is not None for c in CLASSES]
    assert out["row"].to_pylist() == list(range(8))


def test_the_child_gives_the_same_pixels_as_no_child(isolated: Decode) -> None:
    """More rows than one hand-over takes, each compared with the image decoded alone."""
    images: list[bytes | None] = [image(n, ("PNG", "JPEG", "WEBP")[n % 3], (40 + n, 90)) for n in range(75)]
    together = isolated(batch(images))
    alone = HERE.build()(batch(images))
    assert together.equals(alone)
    pixels = pixels_to_numpy(together["pixels"], 32, 48)
    assert len(np.unique(pixels.reshape(75, -1), axis=0)) == 75
    one = pixels_to_numpy(isolated(batch(images[70:71]))["pixels"], 32, 48)
    np.testing.assert_array_equal(one[0], pixels[70])


def test_results_outlive_the_next_batch(isolated: Decode) -> None:
    first = isolated(batch([image(1)]))
    before = pixels_to_numpy(first["pixels"], 32, 48).copy()
    isolated(batch([image(2)]))
    np.testing.assert_array_equal(pixels_to_numpy(first["pixels"], 32, 48), before)


def test_rows_that_failed_earlier_pass_by(isolated: Decode) -> None:
    table = batch([image(1), None])
    failed = pa.array([None, "not_found"])
    table = table.set_column(table.schema.get_field_index("error_class"), "error_class", failed)
    out = isolated(table)
    assert out["error_class"].to_pylist() == [None, "not_found"]
    assert out["width"].to_pylist() == [96, None]


def test_the_process_is_ready_before_the_first_image() -> None:
    operator = CONFIG.build()
    assert isinstance(operator._decoder, DecodePool)
    [process] = operator._decoder.processes
    pid = process.pid
    assert pid is not None
    assert operator(batch([])).num_rows == 0
    assert process.pid == pid
    operator.close()


def test_a_sliced_and_chunked_batch(isolated: Decode) -> None:
    table = pa.concat_tables([batch([image(1), image(2)]).slice(1), batch([image(3)])])
    whole = isolated(batch([image(2), image(3)]))
    assert isolated(table)["pixels"].to_pylist() == whole["pixels"].to_pylist()


def test_turned_images_report_their_upright_size(isolated: Decode) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    out = isolated(batch([image(1, "JPEG", exif=exif)]))
    assert (out["width"].to_pylist(), out["height"].to_pylist()) == ([64], [96])


@pytest.mark.parametrize("isolate", [True, False])
def test_large_jpegs_are_shrunk_on_load_where_asked_and_report_their_own_size(isolate: bool) -> None:
    large = image(1, "JPEG", (800, 600))
    config = CONFIG.model_copy(update={"shrink_on_load": True, "isolate": isolate})
    asked, plain = config.build(), HERE.build()
    try:
        shrunk, whole = asked(batch([large, image(2)])), plain(batch([large, image(2)]))
    finally:
        asked.close()
    assert shrunk["width"].to_pylist() == [800, 96]
    assert shrunk["height"].to_pylist() == [600, 64]
    ours, theirs = (pixels_to_numpy(table["pixels"], 32, 48).astype(int) for table in (shrunk, whole))
    # Noise, at an eighth of its size: each pixel is of 64, and rounded once more than those of the whole image.
    assert 0 < np.abs(ours[0] - theirs[0]).max() <= 12
    assert np.array_equal(ours[1], theirs[1])
    assert config.space("pixels") == CONFIG.space("pixels") | {"shrink_on_load": True}


def test_the_space_holds_what_decides_pixels_and_nothing_else() -> None:
    space = CONFIG.space("pixels")
    assert space["preprocess"]["interpolation"] == "bicubic"
    for same in ({"isolate": False}, {"decode_timeout_s": 1.0}, {"memory_limit_bytes": 1 << 28}, {"max_pixels": 7}):
        assert CONFIG.model_copy(update=same).space("pixels") == space
    for other in ({"orient": False}, {"colour": "ignore"}, {"allow_truncated": True}):
        assert CONFIG.model_copy(update=other).space("pixels") != space


def test_planning_imports_no_torch() -> None:
    import subprocess
    import sys

    code = "import sys, operators.decode; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def preprocess(size: int, **changes: object) -> Preprocess:
    square: dict[str, object] = {"height": size, "width": size, "resize_height": size, "resize_width": size}
    return PREPROCESS.model_copy(update={**square, **changes})


def test_models_that_want_the_same_pixels_share_a_target() -> None:
    own = preprocess(16, mean=(0.5, 0.5, 0.5))
    targets, pixels = share_pixels({"vector_a": preprocess(16), "vector_b": preprocess(24), "vector_c": own})
    assert pixels == {
        "vector_a": "pixels_vector_a",
        "vector_b": "pixels_vector_b",
        "vector_c": "pixels_vector_a",
    }
    assert targets == {"pixels_vector_a": preprocess(16), "pixels_vector_b": preprocess(24)}
    assert list(targets) == ["pixels_vector_a", "pixels_vector_b"]
    assert share_pixels({"vector": own}) == ({"pixels": own}, {"vector": "pixels"})
    assert share_pixels({"vector_a": own, "vector_b": preprocess(16)})[0] == {"pixels": own}


@pytest.mark.parametrize("other", [{"interpolation": "bilinear"}, {"fill": (1, 2, 3)}, {"resize": "squash"}])
def test_models_that_want_other_pixels_of_the_same_size_do_not(other: dict[str, object]) -> None:
    targets, _ = share_pixels({"vector_a": preprocess(16), "vector_b": preprocess(16, **other)})
    assert len(targets) == 2


@pytest.mark.parametrize("isolate", [True, False])
def test_each_target_holds_what_it_would_hold_alone(isolate: bool) -> None:
    """More rows than one hand-over takes, failed ones among them, targets of unlike sizes."""
    targets = {"pixels_a": PREPROCESS, "pixels_b": preprocess(20, resize="squash"), "pixels_c": preprocess(7)}
    images = [None if n % 9 == 4 else image(n, "JPEG", (40 + n, 90)) for n in range(70)]
    several = DecodeConfig(targets=targets, isolate=isolate).build()
    try:
        together = several(batch(images))
    finally:
        several.close()
    assert together.schema.equals(several.config.output_schema(batch(images).schema))
    for name, target in targets.items():
        alone = DecodeConfig(targets={name: target}, isolate=False).build()(batch(images))
        assert together.select(alone.column_names).equals(alone)
    assert together["pixels_b"].null_count == 8
    assert together["pixels_b"].type == pa.binary(20 * 20 * 3)


def test_the_space_of_a_target_is_its_own() -> None:
    config = DecodeConfig(targets={"pixels_a": PREPROCESS, "pixels_b": preprocess(20)})
    assert config.space("pixels_a") == CONFIG.space("pixels")
    assert config.space("pixels_b")["preprocess"]["height"] == 20
    assert config.space("pixels") == config.space("vector") == {}
