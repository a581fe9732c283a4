"""The models of an embed job, named and resolved: what each is, and what it gives for the canary images here."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

from jobs.config.embed import EmbedConfig
from operators.api.options import ApiError
from operators.api.options import resolved as resolved_api
from operators.embed_patches import patch_spec
from operators.models.detectors.spec import DetectorDescription
from operators.models.families import APIS
from operators.models.load import Runtime
from operators.models.resolve import WantedModel, resolving_detector, resolving_models
from operators.models.spec import ModelSpec
from operators.regions.options import DetectorOptions, PatchesOptions
from pipelines.embedding.chain import wanted_detector
from pipelines.embedding.columns import VectorColumn

NO_CANARIES = {"null", *APIS}
"""Families whose vectors are not watched: plain arithmetic on pixels, and models that a provider runs and bills."""


def model_specs(config: EmbedConfig) -> dict[str, ModelSpec]:
    """The specs of the models. Raises `ModelError` for a name of no known form, and for a pooling that patch regions
    cannot have."""
    specs = {column: model.spec() for column, model in config.columns.items()}
    if not isinstance(config.regions, PatchesOptions):
        return specs
    return {column: patch_spec(spec) for column, spec in specs.items()}


def check_api(config: EmbedConfig, specs: Mapping[str, ModelSpec]) -> None:
    """Raises `ApiError` where an API model lacks what it will need, or several of them share one spend cap."""
    asked = [column for column, spec in specs.items() if spec.family in APIS]
    if asked and config.regions is not None:
        raise ApiError(
            f"regions with {specs[asked[0]].name}: it is asked over the network and embeds whole images; leave regions "
            "out, or take a model that runs here"
        )
    if asked:
        resolved_api(config.api)
    if len(asked) > 1 and config.api.max_spend_usd is not None:
        raise ApiError(
            f"api.max_spend_usd with {len(asked)} API models in one run ({', '.join(asked)}): a cap that stops a row "
            "between them loses what the first was paid for; run them one after the other, or leave the cap out"
        )


@contextmanager
def resolving_columns(
    config: EmbedConfig, specs: Mapping[str, ModelSpec], resolved: tuple[VectorColumn, ...] | None
) -> Iterator[Callable[[], tuple[VectorColumn, ...]]]:
    """Gives the columns when called: with their models, and what these give for the canary images here and now.

    Unless they are `resolved`, they are worked out while the block runs, and given up if the block ends first.
    """
    if resolved is not None:
        columns = resolved
        yield lambda: columns
        return
    precisions = {column: config.precision(model) for column, model in config.columns.items()}
    wanted = [
        WantedModel(
            spec=spec,
            runtime=Runtime(
                precision=precisions[column],
                device=config.cluster.device,
                num_threads=config.cluster.num_threads,
                storage=config.storage,
            ),
            canaries=spec.family not in NO_CANARIES,
            patches=isinstance(config.regions, PatchesOptions),
        )
        for column, spec in specs.items()
    ]
    with resolving_models(wanted) as found:
        yield lambda: tuple(
            VectorColumn(
                name=column,
                model=each.description,
                precision=precisions[column],
                canaries=each.canaries,
                forward_s=each.forward_s,
            )
            for column, each in zip(specs, found(), strict=True)
        )


@contextmanager
def resolving_detector_of(config: EmbedConfig) -> Iterator[Callable[[], DetectorDescription | None]]:
    """Gives the detector when called, None where there is none; as `resolving_columns`."""
    options = config.regions
    if not isinstance(options, DetectorOptions):
        yield lambda: None
        return
    with resolving_detector(wanted_detector(options, config.storage)) as found:
        yield found
