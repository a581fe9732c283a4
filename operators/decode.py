"""Image bytes to uint8 pixels at the size of each model."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal

import numpy as np
import pyarrow as pa
from pydantic import BaseModel, ConfigDict, Field

from operators.base import Operator, OperatorConfig
from operators.columns import (
    FORMAT,
    HEIGHT,
    IMAGE_BYTES,
    PIXELS,
    WIDTH,
    fail_rows,
    pixels_field,
    pixels_from_numpy,
    pixels_name,
    set_column,
)
from operators.decode_process import DecodeProcess
from operators.failures import Failure
from operators.preprocess import Preprocess
from operators.shared_rows import DONE, ERROR_CLASSES, FAILED, FORMATS, RECORD

DECODER_VERSION = 1
"""Part of the space. Goes up with every change in `images`, `colour` or `resize` that changes any pixel."""


class DecodeOptions(BaseModel):
    """What a user may choose about decoding; the rest is the model's."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    max_pixels: int = Field(50_000_000, gt=0)
    """Checked on the header, before anything is allocated."""
    allow_truncated: bool = False
    """Take what there is of a file that ends early, the rest grey or black, instead of failing the row."""
    orient: bool = True
    colour: Literal["srgb", "ignore"] = "srgb"
    decode_timeout_s: float = Field(10.0, gt=0)
    """CPU seconds for one image; three times as long by the clock."""
    isolate: bool = True
    """Decode in a process of its own, which an image may kill. False, for a query: no limits of time or memory."""
    memory_limit_bytes: int = Field(1536 * 1024 * 1024, ge=64 * 1024 * 1024)
    """What one image may add to that process. The worst of 50 megapixels, a WebP
    with alpha, was measured at 1.1 GiB: raise it in step with `max_pixels`."""


def pixel_fields(preprocess: Preprocess) -> dict[str, Any]:
    """What of a model's preprocessing decides the pixels, JSON-ready: mean and std are applied where the model is."""
    return preprocess.model_dump(mode="json", exclude={"mean", "std"})


def share_pixels(models: Mapping[str, Preprocess]) -> tuple[dict[str, Preprocess], dict[str, str]]:
    """(targets, vector column -> the pixel column that its model reads) for a preprocessing per vector column.

    Models that differ in mean and std alone read the same pixels. One target is called `pixels`; of several, each
    after the first vector column that is made from it.
    """
    first: dict[str, str] = {}
    for column, preprocess in models.items():
        alike = (other for other in first.values() if pixel_fields(models[other]) == pixel_fields(preprocess))
        first[column] = next(alike, column)
    names = {column: pixels_name(column) for column in set(first.values())}
    if len(names) == 1:
        names = dict.fromkeys(names, PIXELS)
    pixels = {column: names[other] for column, other in first.items()}
    return {pixels[column]: models[column] for column in models if first[column] == column}, pixels


class DecodeConfig(OperatorConfig, DecodeOptions):
    """`image_bytes` (large_binary) to pixels (uint8 RGB, height x width x 3), `width`, `height`, `format`."""

    name: ClassVar[str] = "decode"

    targets: dict[str, Preprocess] = Field(min_length=1)
    """Pixel column -> what it holds. An image is fetched and decoded once, and resized for each."""

    @property
    def reads(self) -> frozenset[str]:
        return frozenset({IMAGE_BYTES.name})

    def output_schema(self, schema: pa.Schema) -> pa.Schema:
        index = schema.get_field_index(IMAGE_BYTES.name)
        kept = schema.remove(index) if index >= 0 else schema
        for field in self._added():
            at = kept.get_field_index(field.name)
            kept = kept.set(at, field) if at >= 0 else kept.append(field)
        return kept

    def space(self, column: str) -> dict[str, Any]:
        if column not in self.targets:
            return {}
        return {
            "decoder": DECODER_VERSION,
            "preprocess": pixel_fields(self.targets[column]),
            "orientation": "exif" if self.orient else "ignore",
            "colour": self.colour,
            "alpha": "white",
            "frame": "first",
            "allow_truncated": self.allow_truncated,
        }

    def build(self) -> "Decode":
        return Decode(self)

    def setup(self) -> dict[str, Any]:
        """What `decode_child.Setup` takes, JSON-ready."""
        return {
            "rules": {
                "max_pixels": self.max_pixels,
                "allow_truncated": self.allow_truncated,
                "orient": self.orient,
                "colour": self.colour,
            },
            "targets": [target.model_dump(mode="json") for target in self.targets.values()],
            "timeout_s": self.decode_timeout_s,
            "memory_limit_bytes": self.memory_limit_bytes,
        }

    def row_bytes(self) -> list[int]:
        """Of one row's pixels, per target."""
        return [target.height * target.width * 3 for target in self.targets.values()]

    def _added(self) -> tuple[pa.Field, ...]:
        pixels = [pixels_field(target.height, target.width, name) for name, target in self.targets.items()]
        return *pixels, WIDTH, HEIGHT, FORMAT


class Decode(Operator[DecodeConfig]):
    """Rows that give no pixels fail with the class and the reason; `width` and `height` are of the upright original."""

    def __init__(self, config: DecodeConfig) -> None:
        super().__init__(config)
        self._process = (
            DecodeProcess(config.setup(), config.decode_timeout_s, config.row_bytes()) if config.isolate else None
        )
        if self._process:
            self._process.start()

    def transform(self, batch: pa.Table) -> pa.Table:
        images = [_view(value) for chunk in batch[IMAGE_BYTES.name].chunks for value in chunk]
        if self._process:
            records, pixels = self._process.decode(images)
        else:
            records, pixels = self._decode_here(images)
        return self._with_results(batch, records, pixels)

    def close(self) -> None:
        """Ends the child process now rather than with this one."""
        if self._process:
            self._process.close()

    def _decode_here(self, images: list[memoryview]) -> tuple[np.ndarray, list[np.ndarray]]:
        from operators.decode_child import Setup, decode_rows

        setup = Setup.model_validate(self.config.setup())
        records = np.zeros(len(images), RECORD)
        pixels = [np.zeros((len(images), size), np.uint8) for size in self.config.row_bytes()]
        decode_rows(records, lambda row: bytes(images[row]), pixels, setup)
        return records, pixels

    def _with_results(self, batch: pa.Table, records: np.ndarray, pixels: Sequence[np.ndarray]) -> pa.Table:
        good = records["state"] == DONE
        names = np.array(FORMATS, dtype=object)[records["format"]]
        values = (
            *(pixels_from_numpy(each, good) for each in pixels),
            pa.array(records["width"], mask=~good),
            pa.array(records["height"], mask=~good),
            pa.array(names, FORMAT.type, mask=~good),
        )
        table = batch.drop_columns([IMAGE_BYTES.name])
        for field, value in zip(self.config._added(), values, strict=True):
            table = set_column(table, field, value)
        failures = {int(row): _failure(records[row]) for row in np.flatnonzero(records["state"] == FAILED)}
        return fail_rows(table, failures, self.config.name)


def _view(value: pa.LargeBinaryScalar) -> memoryview:
    return memoryview(value.as_buffer() if value.is_valid else b"")


def _failure(record: np.void) -> Failure:
    error = ERROR_CLASSES[record["error"]]
    message = record["message"].decode("utf-8", "replace")
    return Failure(error_class=error, message=message, attempts=max(int(record["attempts"]), 1))
