"""From pixels to a vector for each region of an image, pooled from the model's own patches: one forward pass an
image."""

from collections.abc import Mapping
from typing import Any, ClassVar, Self

import numpy as np
import pyarrow as pa

from operators.base.arrays import list_field, pixels_to_numpy, rebuild_lists, vector_field, vectors_from_numpy
from operators.base.columns import HEIGHT, REGIONS, WIDTH
from operators.base.errors import ErrorClass, Failure, UserError
from operators.base.failpoints import failpoint
from operators.base.memory import in_parts
from operators.base.operator import Operator, OperatorConfig
from operators.base.rows import about_column, fail_rows, set_column
from operators.embed import EmbedPixelsConfig, no_memory
from operators.models.spec import ModelError, ModelSpec
from operators.pixels.preprocess import Preprocess
from operators.regions.boxes import WHOLE, BadRegions, Regions
from operators.regions.columns import check_given_columns, given_columns, given_rows, regions_column
from operators.regions.given import given_regions
from operators.regions.options import PatchesOptions
from operators.regions.view import cells_of_input, shows_nothing, view_of_boxes


class PatchEmbedConfig(OperatorConfig):
    """From pixels (uint8, at the model's size), `width`, `height` and the manifest's boxes, where options name a
    column, to `regions` and a vector for each: list<fixed_size_list<float32>>."""

    name: ClassVar[str] = "embed"

    embed: EmbedPixelsConfig
    """How the model is run; the pooling in its spec is `avg`, as `patch_spec` sets it."""
    regions: PatchesOptions
    makes_regions: bool = True
    """Whether this operator adds `regions`: with several models only the first does, as all have the same
    (`check_same_cells`)."""

    @property
    def reads(self) -> frozenset[str]:
        given = given_columns(self.regions).values()
        return self.embed.reads | {WIDTH.name, HEIGHT.name, *given}

    def output_schema(self, schema: pa.Schema) -> pa.Schema:
        check_given_columns(self.regions, schema)
        if not self.embed.keep_pixels:
            schema = schema.remove(schema.get_field_index(self.embed.pixels))
        if self.makes_regions:
            schema = schema.append(REGIONS)
        return schema.append(self.field)

    @property
    def field(self) -> pa.Field:
        return list_field(vector_field(self.embed.model.dim, pa.float32(), self.embed.column))

    def space(self, column: str) -> dict[str, Any]:
        decided = self.embed.space(column)
        return decided and {**decided, "regions": self.regions.record()}

    def on_cores(self, cores: int) -> Self:
        return self.model_copy(update={"embed": self.embed.on_cores(cores)})

    def build(self) -> "PatchEmbed":
        return PatchEmbed(self)


class PatchEmbed(Operator[PatchEmbedConfig]):
    """Embeds regions. Rows whose regions cannot be made, or with a region that the model does not see, fail."""

    def __init__(self, config: PatchEmbedConfig) -> None:
        super().__init__(config)
        self.embedder: Any = config.embed.build().embedder

    def transform(self, batch: pa.Table) -> pa.Table:
        config, embed = self.config, self.config.embed
        preprocess = embed.model.preprocess
        found, failures = self._places(batch)
        pixels = pixels_to_numpy(batch[embed.pixels], preprocess.height, preprocess.width)
        places = {row: each for row, each in enumerate(found) if each is not None}
        failpoint("embed.before")
        vectors, failed = self._vectors(pixels, {row: views for row, (_, views) in places.items()})
        failpoint("embed.after")
        failures |= {row: no_memory(words, embed.column) for row, words in failed.items()}
        lengths, valid = np.zeros(batch.num_rows, np.int64), np.zeros(batch.num_rows, bool)
        for row in places.keys() - failed.keys():
            lengths[row], valid[row] = len(places[row][1]), True
        if not embed.keep_pixels:
            batch = batch.drop_columns([embed.pixels])
        if config.makes_regions:
            batch = set_column(batch, REGIONS, regions_column([each and each[0] for each in found]))
        batch = set_column(batch, config.field, rebuild_lists(vectors_from_numpy(vectors), lengths, valid))
        return fail_rows(batch, failures, config.name)

    def _vectors(self, pixels_NHWC: np.ndarray, views: Mapping[int, np.ndarray]) -> tuple[np.ndarray, dict[int, str]]:
        """((M, dim) float32 of the regions of the rows in `views`, end to end; row -> the error's words, of those for
        which memory does not suffice)."""
        rows = list(views)
        if not rows:
            return np.zeros((0, self.config.embed.model.dim), np.float32), {}

        def run(part: slice) -> np.ndarray:
            some = rows[part]
            # A view where it can be: in the usual batch no row has failed.
            of_rows = pixels_NHWC[part] if len(rows) == len(pixels_NHWC) else pixels_NHWC[some]
            vectors: np.ndarray = self.embedder.embed_regions(of_rows, [views[row] for row in some])
            return vectors

        parts, failed = in_parts(run, len(rows))
        made = [np.zeros((0, self.config.embed.model.dim), np.float32), *(vectors for _, vectors in parts)]
        return np.concatenate(made), {rows[at]: words for at, words in failed.items()}

    def _places(self, batch: pa.Table) -> tuple[list[tuple[Regions, np.ndarray] | None], dict[int, Failure]]:
        """The result of `patch_regions` for each row; None for those that fail."""
        options, preprocess = self.config.regions, self.config.embed.model.preprocess
        given = [{}] * batch.num_rows if options.column is None else given_rows(batch, options)
        sizes = zip(batch[WIDTH.name].to_pylist(), batch[HEIGHT.name].to_pylist(), strict=True)
        found: list[tuple[Regions, np.ndarray] | None] = []
        failures: dict[int, Failure] = {}
        for row, (width, height) in enumerate(sizes):
            try:
                found.append(patch_regions(options, width, height, given[row], preprocess))
            except BadRegions as error:
                found.append(None)
                message = about_column(self.config.embed.column, str(error))
                failures[row] = Failure(error_class=error.error_class, message=message)
        return found, failures


def patch_regions(
    options: PatchesOptions, width: int, height: int, given: Mapping[str, object], preprocess: Preprocess
) -> tuple[Regions, np.ndarray]:
    """(the regions of an image of this size, the box of each in fractions of the model's input, (M, 4) float32).

    Raises `BadRegions`, also for a box that a centre crop cuts away.
    """
    if options.cells is not None:
        views, boxes = cells_of_input(options.cells, height, width, preprocess)
        nothing = [None] * len(boxes)
        return Regions(kinds=["patch"] * len(boxes), boxes=boxes, labels=nothing, scores=nothing), views
    regions = given_regions(options, width, height, given)
    views = view_of_boxes(regions.boxes, height, width, preprocess)
    # Padding included, as pooling `avg` takes it.
    views[[kind == WHOLE for kind in regions.kinds]] = (0, 0, 1, 1)
    unseen = np.flatnonzero(shows_nothing(views))
    if len(unseen):
        box = ", ".join(f"{value:g}" for value in regions.boxes[unseen[0]])
        raise BadRegions(
            ErrorClass.BAD_REGIONS,
            f"box {unseen[0]} ({box}) is cut away by the crop to the model's input; model.preprocess.resize=squash (or "
            "longest) with model.preprocess.crop_pct=1 shows the model the whole image",
        )
    return regions, views


def patch_spec(spec: ModelSpec) -> ModelSpec:
    """The model with pooling `avg`: a region of patches is their mean. Raises `ModelError` where another pooling was
    asked for."""
    if spec.pooling not in ("default", "avg"):
        raise ModelError(
            f"model {spec.name!r}: regions of patches are means of them, and pooling {spec.pooling!r} is of the whole "
            "image; leave model.pooling out, or set it to avg"
        )
    return spec.model_copy(update={"pooling": "avg"})


def check_same_cells(options: PatchesOptions, models: Mapping[str, Preprocess]) -> None:
    """Raises `UserError` where models of several columns would see different parts of an image in the same cell."""
    if options.cells is None:
        return
    (first, own), *others = ((column, _seen(preprocess)) for column, preprocess in models.items())
    for column, seen in others:
        if seen != own:
            raise UserError(
                f"regions.cells: the columns {first} and {column} are of models that crop or pad images differently, "
                "so that their cells show other parts of an image; set preprocess.resize=squash and "
                "preprocess.crop_pct=1 for both models, or embed into two tables"
            )


def _seen(preprocess: Preprocess) -> Preprocess | None:
    """The settings that decide which part of an image the input shows; None where it is always the whole."""
    sizes = (preprocess.height, preprocess.width), (preprocess.resize_height, preprocess.resize_width)
    if preprocess.resize == "squash" and sizes[0] == sizes[1]:
        return None
    alike = {"interpolation": "bilinear", "fill": (0, 0, 0), "mean": (0.0, 0.0, 0.0), "std": (1.0, 1.0, 1.0)}
    return preprocess.model_copy(update=alike)
