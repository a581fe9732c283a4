"""The operators that make regions of an image and a vector of each: of a run, and of a query."""

from collections.abc import Mapping

from operators.base.operator import OperatorConfig
from operators.crop import CropConfig
from operators.decode import DecodeConfig, DecodeOptions
from operators.detect import CANVAS, DetectConfig, canvas
from operators.embed import EmbedConfig
from operators.embed_patches import PatchEmbedConfig
from operators.models.detectors.spec import parse_detector_name
from operators.models.resolve import WantedDetector
from operators.pixels.preprocess import Preprocess
from operators.regions.options import (
    BoxesOptions,
    DetectorOptions,
    GridOptions,
    PatchesOptions,
    RegionOptions,
    TilesOptions,
)
from operators.storage.stores import StorageOptions


def decode_operators(
    options: DecodeOptions,
    targets: Mapping[str, Preprocess],
    regions: RegionOptions | None,
    detect: DetectConfig | None = None,
) -> dict[str, tuple[OperatorConfig, ...]]:
    """Operator name to its configs, from an image's bytes to the pixels of each of the `targets`.

    A detector stands between two decodings: of the whole image, small, for it to see, and of what it has found.
    """
    if isinstance(regions, DetectorOptions):
        seen = DecodeConfig(targets={CANVAS: canvas(regions)}, keep_bytes=True, **options.model_dump())
        crop = CropConfig(targets=dict(targets), regions=regions, **options.model_dump())
        return {"decode": (seen,), **({"detect": (detect,)} if detect else {}), "crop": (crop,)}
    cut = regions if isinstance(regions, GridOptions | TilesOptions | BoxesOptions) else None
    return {"decode": (DecodeConfig(targets=dict(targets), regions=cut, **options.model_dump()),)}


def embed_operator(embed: EmbedConfig, regions: RegionOptions | None, *, makes_regions: bool = True) -> OperatorConfig:
    """Pixels, or lists of them, to vectors or lists. `makes_regions`: of patches, the first of several models does."""
    if isinstance(regions, PatchesOptions):
        return PatchEmbedConfig(embed=embed, regions=regions, makes_regions=makes_regions)
    return embed


def wanted_detector(options: DetectorOptions, storage: StorageOptions) -> WantedDetector:
    """What is to be resolved before regions can be detected. Raises `ModelError` for a name of no known form."""
    spec = parse_detector_name(options.model, options.sha256)
    return WantedDetector(spec=spec, storage=storage, classes=options.classes)
