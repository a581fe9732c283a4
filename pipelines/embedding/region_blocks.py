"""How many images a block and a fragment take where an image has several regions. It changes no result."""

from operators.regions.options import DetectorOptions, GridOptions, PatchesOptions, RegionOptions
from pipelines.run.cluster import ClusterConfig

_OF_MOST = 4
"""Where an image's own content says how many regions it has, blocks are sized for a quarter of `max_regions`: blocks
come out up to four times as large as the cluster file means them, or many times smaller."""
_MODEL_SIDE = 224
"""Pixels of a region's side, about: models differ. What a detector sees is counted in such regions."""


def regions_an_image(options: RegionOptions) -> int:
    """How many regions blocks are sized for: exact for a grid and for cells of patches."""
    match options:
        case GridOptions():
            return options.rows * options.columns + options.whole
        case PatchesOptions(cells=int(cells)):
            return cells**2
        case _:
            return max(options.max_regions // _OF_MOST, 1)


def sized_for_regions(cluster: ClusterConfig, options: RegionOptions | None) -> ClusterConfig:
    """The cluster's settings with `block_rows` and `rows_per_fragment` in images, so that a block holds about as many
    bytes of pixels, and a fragment about as many vectors, as where each image has one. `patches` keep an image's
    pixels as they are; a detector is shown more of them than a model of one region, and before there are any."""
    if options is None:
        return cluster
    vectors = regions_an_image(options)
    pixels = 1 if isinstance(options, PatchesOptions) else vectors
    if isinstance(options, DetectorOptions):
        pixels = max(pixels, (options.image_size // _MODEL_SIDE) ** 2)
    return cluster.model_copy(
        update={
            "block_rows": max(cluster.block_rows // pixels, 1),
            "rows_per_fragment": max(cluster.rows_per_fragment // vectors, 1),
        }
    )
