"""The models of an embed job, named and resolved: what each is, and what it gives for the canary images here."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager

from jobs.config.embed import EmbedConfig
from operators.api.options import ApiError
from operators.api.options import resolved as resolved_api
from operators.embed_patches import patch_spec
from operators.models.backends.fastest import Numerics, fastest, ways_here
from operators.models.backends.instructions import check_native
from operators.models.detectors.spec import DetectorDescription
from operators.models.families import APIS
from operators.models.resolve import Resolved, WantedModel, resolving_detector, resolving_models
from operators.models.runtime import Runtime
from operators.models.spec import Backend, ModelSpec
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
    config: EmbedConfig,
    specs: Mapping[str, ModelSpec],
    resolved: tuple[VectorColumn, ...] | None,
    there: Mapping[str, Numerics],
) -> Iterator[Callable[[], tuple[VectorColumn, ...]]]:
    """Gives the columns when called: with their models, and what these give for the canary images here and now.

    Unless they are `resolved`, they are worked out while the block runs, and given up if the block ends first. `there`
    are the precisions and backends of columns that the table has, for models of precision `fastest`.
    """
    if resolved is not None:
        columns = resolved
        yield lambda: columns
        return
    ways = {column: _ways(config, column, spec, there) for column, spec in specs.items()}
    wanted = [_wanted(config, specs[column], way, len(tried) > 1) for column, tried in ways.items() for way in tried]
    with resolving_models(wanted) as found:
        yield lambda: tuple(_columns(config, ways, found()))


def _ways(config: EmbedConfig, column: str, spec: ModelSpec, there: Mapping[str, Numerics]) -> list[Numerics]:
    """The ways to run a column's model, one unless the fastest is to be found by trial. Raises `ModelError` where this
    machine would emulate the precision; of another cluster's machines each worker looks itself."""
    model, precision = config.columns[column], config.precision_of(config.columns[column])
    patches = isinstance(config.regions, PatchesOptions)
    # Pooling over regions is torch's.
    backend: Backend = "torch" if patches and model.backend == "auto" else model.backend
    watched = spec.family not in NO_CANARIES
    if precision == "fastest" and column in there:
        precision, made_by = there[column]
        backend = backend if precision == "float32" else made_by
    elif precision == "fastest":
        return ways_here(spec, backend, compile=config.cluster.compile) if watched else [("float32", backend)]
    elif backend == "auto" and precision != "float32":
        # The backend is part of the space there, and no worker may choose it: torch's is the one that all have.
        backend = "torch"
    if watched and not model.emulate and config.cluster.address is None:
        check_native(spec.name, precision, config.cluster.device)
    return [(precision, backend)]


def _wanted(config: EmbedConfig, spec: ModelSpec, way: Numerics, optional: bool) -> WantedModel:
    precision, backend = way
    return WantedModel(
        spec=spec,
        runtime=Runtime(
            backend=backend,
            precision=precision,
            device=config.cluster.device,
            num_threads=config.cluster.num_threads,
            storage=config.storage,
        ),
        canaries=spec.family not in NO_CANARIES,
        optional=optional and precision != "float32",
        patches=isinstance(config.regions, PatchesOptions),
    )


def _columns(
    config: EmbedConfig, ways: Mapping[str, Sequence[Numerics]], found: Sequence[Resolved]
) -> Iterator[VectorColumn]:
    """A column for each, run in the way that is fastest."""
    results = iter(found)
    for column, tried in ways.items():
        of_column = [next(results) for _ in tried]
        at = fastest([(each.canaries, each.forward_s) for each in of_column])
        (precision, backend), chosen = tried[at], of_column[at]
        yield VectorColumn(
            name=column,
            model=chosen.description,
            precision=precision,
            emulate=config.columns[column].emulate or chosen.description.spec.family in NO_CANARIES,
            backend=backend,
            backend_here=chosen.canaries.backend if chosen.canaries else None,
            canaries=chosen.canaries,
            forward_s=chosen.forward_s,
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
