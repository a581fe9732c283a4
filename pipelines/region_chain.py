"""The operators that make regions of an image and a vector of each: of a run, and of a query."""

from collections.abc import Mapping

from operators.base import OperatorConfig
from operators.decode import DecodeConfig, DecodeOptions
from operators.embed import EmbedConfig
from operators.embed_patches import PatchEmbedConfig
from operators.preprocess import Preprocess
from operators.region_options import BoxesOptions, GridOptions, PatchesOptions, RegionOptions, TilesOptions


def decode_operators(
    options: DecodeOptions, targets: Mapping[str, Preprocess], regions: RegionOptions | None
) -> dict[str, tuple[OperatorConfig, ...]]:
    """Operator name to its configs, from an image's bytes to the pixels of each of the `targets`."""
    cut = regions if isinstance(regions, GridOptions | TilesOptions | BoxesOptions) else None
    return {"decode": (DecodeConfig(targets=dict(targets), regions=cut, **options.model_dump()),)}


def embed_operator(embed: EmbedConfig, regions: RegionOptions | None, *, makes_regions: bool = True) -> OperatorConfig:
    """Pixels, or lists of them, to vectors or lists. `makes_regions`: of patches, the first of several models does."""
    if isinstance(regions, PatchesOptions):
        return PatchEmbedConfig(embed=embed, regions=regions, makes_regions=makes_regions)
    return embed
