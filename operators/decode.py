"""From image bytes to uint8 pixels at the size of each model."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Self

import numpy as np
import pyarrow as pa
from pydantic import BaseModel, ConfigDict, Field

from operators.base.arrays import binary_views, list_field, pixels_field
from operators.base.columns import FORMAT, HEIGHT, IMAGE_BYTES, PIXELS, REGIONS, WIDTH, pixels_name
from operators.base.failpoints import failpoint
from operators.base.operator import Operator, OperatorConfig
from operators.base.rows import fail_rows, set_column
from operators.decoding.hand_over import Results
from operators.decoding.pool import DecodePool
from operators.decoding.process import DecodeProcess
from operators.decoding.rows import failures_of, pixel_arrays, regions_array
from operators.decoding.shared_rows import DONE, FORMATS
from operators.pixels.preprocess import Preprocess
from operators.regions.columns import check_given_columns, given_rows, json_of
from operators.regions.given import CutFrom
from operators.regions.options import BoxesOptions, GridOptions, TilesOptions

if TYPE_CHECKING:
    from operators.decoding.here import DecodeHere

DECODER_VERSION = 2
"""Part of the space. Goes up with every change in `operators.pixels` that changes any pixel."""


class DecodeOptions(BaseModel):
    """What a user may choose about decoding; the rest is the model's."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    max_pixels: int = Field(50_000_000, gt=0)
    """Checked on the header, before anything is allocated."""
    allow_truncated: bool = False
    """Decode what there is of a file that ends early, the rest grey or black, instead of failing the row."""
    orient: bool = True
    colour: Literal["srgb", "ignore"] = "srgb"
    shrink_on_load: bool = False
    """Decode large JPEGs at a half, a quarter or an eighth of their size, where that leaves twice the pixels that each
    model sees. Not with regions that are cut out."""
    decode_timeout_s: float = Field(10.0, gt=0)
    """CPU seconds for one image; three times as long by the clock."""
    isolate: bool = True
    """Decode in a process of its own, which an image may kill. False, for a query, sets no limits of time or memory."""
    memory_limit_bytes: int = Field(1536 * 1024 * 1024, ge=64 * 1024 * 1024)
    """Memory that one image may add to that process. The worst of 50 megapixels, a WebP with alpha, was measured at 1.1
    GiB: raise it in step with `max_pixels`."""


def pixel_fields(preprocess: Preprocess) -> dict[str, Any]:
    """The part of a model's preprocessing that decides the pixels, JSON-ready: mean and std are left to the model."""
    return preprocess.model_dump(mode="json", exclude={"mean", "std"})


def share_pixels(models: Mapping[str, Preprocess]) -> tuple[dict[str, Preprocess], dict[str, str]]:
    """(targets, vector column -> the pixel column that its model reads), from a preprocessing per vector column.

    Models that differ only in mean and std read the same pixels. A single target is called `pixels`; several are named
    after the first vector column made from each.
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


def decode_space(options: DecodeOptions, target: Preprocess) -> dict[str, Any]:
    """What decides the pixels of one target, JSON-ready."""
    space = {
        "decoder": DECODER_VERSION,
        "preprocess": pixel_fields(target),
        "orientation": "exif" if options.orient else "ignore",
        "colour": options.colour,
        "alpha": "white",
        "frame": "first",
        "allow_truncated": options.allow_truncated,
    }
    return space | {"shrink_on_load": True} if options.shrink_on_load else space


def image_decoder(
    options: DecodeOptions, targets: Mapping[str, Preprocess], regions: CutFrom | None, processes: int
) -> "DecodePool | DecodeHere":
    """A decoder, ready for images; from each image, or each region, it makes all `targets`. It decodes in `processes`
    at a time."""
    models = [target.model_dump(mode="json") for target in targets.values()]
    setup = {
        "rules": {
            "max_pixels": options.max_pixels,
            "allow_truncated": options.allow_truncated,
            "orient": options.orient,
            "colour": options.colour,
            # Regions are cut by pixels of the whole image.
            "shrink_for": models if options.shrink_on_load and regions is None else [],
        },
        "targets": models,
        "regions": None if regions is None else regions.record(),
        "timeout_s": options.decode_timeout_s,
        "memory_limit_bytes": options.memory_limit_bytes,
    }
    row_bytes = [target.height * target.width * 3 for target in targets.values()]
    max_regions = None if regions is None else regions.max_regions
    if not options.isolate:
        # Here and not at the top: the driver declares the config without decoding anything.
        from operators.decoding.here import DecodeHere

        return DecodeHere(setup, row_bytes, max_regions)
    return DecodePool(lambda: DecodeProcess(setup, options.decode_timeout_s, row_bytes, max_regions), processes)


class DecodeConfig(OperatorConfig, DecodeOptions):
    """From `image_bytes` (large_binary) to pixels (uint8 RGB, height x width x 3), `width`, `height`, `format`.

    With `regions`, each row gets a list of pixels, and `regions` with an entry for each.
    """

    name: ClassVar[str] = "decode"

    targets: dict[str, Preprocess] = Field(min_length=1)
    """Pixel column -> the preprocessing of what it holds. An image is fetched and decoded once, and resized for
    each."""
    regions: Annotated[GridOptions | TilesOptions | BoxesOptions, Field(discriminator="kind")] | None = None
    """Regions to cut out of each image; None: the whole image is the only one."""
    keep_bytes: bool = False
    """Whether a later operator reads the image bytes too (`operators.crop`)."""
    processes: int = 1
    """Processes that decode side by side."""

    @property
    def reads(self) -> frozenset[str]:
        return frozenset({IMAGE_BYTES.name, *(self.regions.manifest_columns if self.regions else ())})

    def output_schema(self, schema: pa.Schema) -> pa.Schema:
        if isinstance(self.regions, BoxesOptions):
            check_given_columns(self.regions, schema)
        index = schema.get_field_index(IMAGE_BYTES.name)
        kept = schema.remove(index) if index >= 0 and not self.keep_bytes else schema
        for field in self.added():
            at = kept.get_field_index(field.name)
            kept = kept.set(at, field) if at >= 0 else kept.append(field)
        return kept

    def space(self, column: str) -> dict[str, Any]:
        if column not in self.targets:
            return {}
        space = decode_space(self, self.targets[column])
        return space if self.regions is None else space | {"regions": self.regions.record()}

    def on_cores(self, cores: int) -> Self:
        return self.model_copy(update={"processes": cores})

    def build(self) -> "Decode":
        return Decode(self)

    def added(self) -> tuple[pa.Field, ...]:
        """Columns that the operator adds."""
        pixels = [pixels_field(target.height, target.width, name) for name, target in self.targets.items()]
        if self.regions is None:
            return *pixels, WIDTH, HEIGHT, FORMAT
        return *map(list_field, pixels), WIDTH, HEIGHT, FORMAT, REGIONS


class Decode(Operator[DecodeConfig]):
    """Decodes images. Rows that give no pixels fail with class and reason; `width` and `height` are of the upright
    original."""

    def __init__(self, config: DecodeConfig) -> None:
        super().__init__(config)
        self._decoder = image_decoder(config, config.targets, config.regions, config.processes)

    def transform(self, batch: pa.Table) -> pa.Table:
        regions = self.config.regions
        given = given_rows(batch, regions) if isinstance(regions, BoxesOptions) else None
        images = binary_views(batch[IMAGE_BYTES.name])
        results = self._decoder.decode(images, None if given is None else [json_of(row) for row in given])
        failpoint("decode.after")
        return self._with_results(batch, results, given)

    def close(self) -> None:
        """End the child process now rather than together with this one."""
        self._decoder.close()

    def _with_results(self, batch: pa.Table, results: Results, given: list[dict[str, Any]] | None) -> pa.Table:
        records, good = results.records, results.records["state"] == DONE
        names = np.array(FORMATS, dtype=object)[records["format"]]
        values = [
            *pixel_arrays(results, cut=self.config.regions is not None),
            pa.array(records["width"], mask=~good),
            pa.array(records["height"], mask=~good),
            pa.array(names, FORMAT.type, mask=~good),
        ]
        if self.config.regions is not None:
            values.append(regions_array(results, given))
        table = batch if self.config.keep_bytes else batch.drop_columns([IMAGE_BYTES.name])
        for field, value in zip(self.config.added(), values, strict=True):
            table = set_column(table, field, value)
        return fail_rows(table, failures_of(records), self.config.name)
