"""From images, and the regions that an earlier operator found in them, to pixels of each region."""

from typing import Any, ClassVar, Self

import pyarrow as pa
from pydantic import Field

from operators.base.arrays import binary_views, list_field, pixels_field
from operators.base.columns import IMAGE_BYTES, REGIONS
from operators.base.operator import Operator, OperatorConfig
from operators.base.rows import fail_rows, set_column
from operators.decode import DecodeOptions, decode_space, image_decoder
from operators.decoding.rows import failures_of, pixel_arrays
from operators.pixels.preprocess import Preprocess
from operators.regions.columns import json_of
from operators.regions.options import DetectorOptions


class CropConfig(OperatorConfig, DecodeOptions):
    """From `image_bytes` (large_binary) and `regions` to a list of pixels for each row, one entry for each region.

    The image is decoded by the rules of `operators.decode`, to which the boxes refer.
    """

    name: ClassVar[str] = "crop"

    targets: dict[str, Preprocess] = Field(min_length=1)
    """Pixel column -> the preprocessing of what it holds."""
    regions: DetectorOptions
    processes: int = 1
    """Processes that decode side by side."""

    @property
    def reads(self) -> frozenset[str]:
        return frozenset({IMAGE_BYTES.name, REGIONS.name})

    def output_schema(self, schema: pa.Schema) -> pa.Schema:
        kept = schema.remove(schema.get_field_index(IMAGE_BYTES.name))
        for field in self.added():
            kept = kept.append(field)
        return kept

    def space(self, column: str) -> dict[str, Any]:
        if column not in self.targets:
            return {}
        return decode_space(self, self.targets[column]) | {"regions": self.regions.record()}

    def on_cores(self, cores: int) -> Self:
        return self.model_copy(update={"processes": cores})

    def build(self) -> "Crop":
        return Crop(self)

    def added(self) -> tuple[pa.Field, ...]:
        """Columns that the operator adds."""
        pixels = (pixels_field(target.height, target.width, name) for name, target in self.targets.items())
        return tuple(map(list_field, pixels))


class Crop(Operator[CropConfig]):
    def __init__(self, config: CropConfig) -> None:
        super().__init__(config)
        self._decoder = image_decoder(config, config.targets, config.regions, config.processes)

    def transform(self, batch: pa.Table) -> pa.Table:
        found = [_as_given(regions) for regions in batch[REGIONS.name].to_pylist()]
        results = self._decoder.decode(binary_views(batch[IMAGE_BYTES.name]), [json_of(given) for given in found])
        table = batch.drop_columns([IMAGE_BYTES.name])
        for field, pixels in zip(self.config.added(), pixel_arrays(results, cut=True), strict=True):
            table = set_column(table, field, pixels)
        return fail_rows(table, failures_of(results.records), self.config.name)

    def close(self) -> None:
        """End the child process now rather than together with this one."""
        self._decoder.close()


def _as_given(regions: list[dict[str, Any]]) -> dict[str, Any]:
    """A row of `regions` in the form that `given.place` takes."""
    return {"kinds": [each["kind"] for each in regions], "boxes": [[*each["box"].values()] for each in regions]}
