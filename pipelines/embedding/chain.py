"""The operators of a run in their order, with regions or without. A query goes through the very same."""

from collections.abc import Mapping, Sequence

from operators.base.operator import OperatorConfig
from operators.compare import CompareConfig
from operators.crop import CropConfig
from operators.decode import DecodeConfig, DecodeOptions, share_pixels
from operators.detect import CANVAS, DetectConfig, canvas
from operators.embed import EmbedPixelsConfig
from operators.embed_api import api_embed_config, is_api
from operators.embed_patches import PatchEmbedConfig, check_same_cells
from operators.fetch import FetchConfig
from operators.models.detectors.spec import parse_detector_name
from operators.models.resolve import WantedDetector
from operators.normalize import NormalizeConfig
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
from pipelines.embedding.columns import DerivedColumn, Options, VectorColumn
from pipelines.run.cluster import ClusterConfig
from pipelines.space.labelling import LABELLING, Labelling, labelling_chain
from pipelines.space.reduction import REDUCING, reduction_chain


def decode_operators(
    options: DecodeOptions,
    targets: Mapping[str, Preprocess],
    regions: RegionOptions | None,
    detect: DetectConfig | None = None,
) -> dict[str, tuple[OperatorConfig, ...]]:
    """Operator name to its configs, from an image's bytes to the pixels of each of the `targets`.

    A detector comes between two decodings: first the whole image, small, for it to see; then what it has found.
    """
    if isinstance(regions, DetectorOptions):
        seen = DecodeConfig(targets={CANVAS: canvas(regions)}, keep_bytes=True, **options.model_dump())
        crop = CropConfig(targets=dict(targets), regions=regions, **options.model_dump())
        return {"decode": (seen,), **({"detect": (detect,)} if detect else {}), "crop": (crop,)}
    cut = regions if isinstance(regions, GridOptions | TilesOptions | BoxesOptions) else None
    return {"decode": (DecodeConfig(targets=dict(targets), regions=cut, **options.model_dump()),)}


def embed_operator(
    embed: EmbedPixelsConfig, regions: RegionOptions | None, *, makes_regions: bool = True
) -> OperatorConfig:
    """The operator from pixels, or lists of them, to vectors or lists. With patch regions, `makes_regions` is true for
    the first of several models."""
    if isinstance(regions, PatchesOptions):
        # Pooling over regions is torch's.
        embed = embed.model_copy(update={"backend": "torch"})
        return PatchEmbedConfig(embed=embed, regions=regions, makes_regions=makes_regions)
    return embed


def wanted_detector(options: DetectorOptions, storage: StorageOptions) -> WantedDetector:
    """The detector to resolve before regions can be detected. Raises `ModelError` for a name of no known form."""
    spec = parse_detector_name(options.model, options.sha256)
    return WantedDetector(spec=spec, storage=storage, classes=options.classes)


def operator_chain(
    columns: Sequence[VectorColumn], options: Options, cluster: ClusterConfig
) -> dict[str, tuple[OperatorConfig, ...]]:
    """Operator name to its configs, in the order of `OPERATORS`: one `fetch` and one `decode`; of the others one for
    each column. Queries are embedded by the same operators."""
    preprocesses = {column.name: column.model.preprocess for column in columns}
    targets, pixels = share_pixels(preprocesses)
    read_last = {pixels[column.name]: column.name for column in columns}
    if isinstance(options.regions, PatchesOptions):
        check_same_cells(options.regions, preprocesses)
    embed = tuple(
        _embed(
            column,
            options,
            cluster,
            pixels=name,
            keep_pixels=read_last[name] != column.name,
            first=column is columns[0],
        )
        for column in columns
        for name in [pixels[column.name]]
    )
    normalize = tuple(NormalizeConfig(column=column.name, **options.normalize.model_dump()) for column in columns)
    decoding = decode_operators(options.decode, targets, options.regions, _detect(options, cluster))
    return {"fetch": (FetchConfig(**dict(options.fetch)),), **decoding, "embed": embed, "normalize": normalize}


def comparing_chain(
    chain: Mapping[str, tuple[OperatorConfig, ...]], moved: bytes
) -> dict[str, tuple[OperatorConfig, ...]]:
    """The chain, in which images are set aside right after they are fetched whose vectors the table has. `moved` are
    digests as `CompareConfig` takes them."""
    after = {"fetch": ("compare", (CompareConfig(moved=moved),))}
    pairs = [pair for name, configs in chain.items() for pair in ((name, configs), after.get(name)) if pair]
    return dict(pairs)


def reducing_chain(derived: Sequence[DerivedColumn], table: StorageOptions) -> dict[str, tuple[OperatorConfig, ...]]:
    """Operator name to its configs, one for each derived column that needs it, in the order of `REDUCING`."""
    configs = [config for column in derived for config in reduction_chain(column.reduction, column.name, table)]
    named = {name: tuple(config for config in configs if config.name == name) for name in REDUCING}
    return {name: found for name, found in named.items() if found}


def labelling_operators(
    labellings: Mapping[str, Labelling], table: StorageOptions
) -> dict[str, tuple[OperatorConfig, ...]]:
    """Operator name to its configs, for the columns (name -> how it is made) that say which group a vector is of."""
    configs = labelling_chain(labellings, table)
    named = {name: tuple(config for config in configs if config.name == name) for name in LABELLING}
    return {name: found for name, found in named.items() if found}


def _embed(
    column: VectorColumn, options: Options, cluster: ClusterConfig, *, pixels: str, keep_pixels: bool, first: bool
) -> OperatorConfig:
    if is_api(column.model):
        return api_embed_config(column.model, options.api, pixels=pixels, keep_pixels=keep_pixels, column=column.name)
    embed = EmbedPixelsConfig(
        model=column.model,
        backend=column.backend,
        precision=column.precision,
        emulate=column.emulate,
        device=cluster.device,
        batch_size=cluster.batch_size,
        num_threads=cluster.num_threads,
        compile=cluster.compile,
        storage=options.fetch.storage,
        canaries=column.canaries,
        pixels=pixels,
        keep_pixels=keep_pixels,
        column=column.name,
    )
    return embed_operator(embed, options.regions, makes_regions=first)


def _detect(options: Options, cluster: ClusterConfig) -> DetectConfig | None:
    if options.detector is None or not isinstance(options.regions, DetectorOptions):
        return None
    return DetectConfig(
        model=options.detector,
        options=options.regions,
        device=cluster.device,
        num_threads=cluster.num_threads,
        storage=options.fetch.storage,
    )
