"""How many images go into a block and a fragment where an image has several regions. It changes no result."""

from operators.regions.options import DetectorOptions, GridOptions, PatchesOptions, RegionOptions
from pipelines.run.cluster import ClusterConfig

_OF_MOST = 4
"""Blocks are sized for this fraction (a quarter) of `max_regions` where the number depends on the image: they come out
up to four times as large as the cluster file says, or many times smaller."""
_MODEL_SIDE = 224
"""Approximate side of a region in pixels: models differ. The larger image that a detector sees counts as so many
regions."""


def regions_an_image(options: RegionOptions) -> int:
    """The number of regions an image that blocks are sized for: exact for a grid and for cells of patches."""
    match options:
        case GridOptions():
            return options.rows * options.columns + options.whole
        case PatchesOptions(cells=int(cells)):
            return cells**2
        case _:
            return max(options.max_regions // _OF_MOST, 1)


def sized_for_regions(cluster: ClusterConfig, options: RegionOptions | None) -> ClusterConfig:
    """The cluster's settings with `block_rows` and `rows_per_fragment` counted in images, so that a block has about as
    many bytes of pixels, and a fragment about as many vectors, as where each image has one vector. With `patches` an
    image's pixels stay as they are. A detector sees more pixels than the model sees of one region, and sees them before
    there are regions."""
    if options is None:
        return cluster
    vectors = regions_an_image(options)
    pixels = 1 if isinstance(options, PatchesOptions) else vectors
    if isinstance(options, DetectorOptions):
        pixels = max(pixels, (options.image_size // _MODEL_SIDE) ** 2)
    return cluster.model_copy(
        update={
            "block_rows": "auto" if cluster.block_rows == "auto" else max(cluster.block_rows // pixels, 1),
            "rows_per_fragment": max(cluster.rows_per_fragment // vectors, 1),
        }
    )
