"""The models of a benchmark, each resolved by itself: one that cannot be had is a line of the result."""

from collections.abc import Callable
from dataclasses import dataclass

from jobs.benchmarking.config import BenchmarkConfig
from jobs.embedding.resolve_columns import check_api, model_specs, resolving_columns
from operators.base.errors import UserError, row_line
from operators.models.resolve import WantedModel, resolve_models
from operators.models.runtime import Runtime
from operators.models.spec import ModelDescription, ModelError, ModelOptions, ModelSpec, parse_model_name
from operators.models.warm import end_warm_process
from operators.pixels.preprocess import PreprocessOverrides
from operators.storage.redact import redact
from pipelines.embedding.columns import VectorColumn

RANDOM_SEED = 0


@dataclass(frozen=True, kw_only=True)
class Contestant:
    """A model of the benchmark."""

    name: str
    column: VectorColumn
    twin: ModelDescription | None
    """The same network with random weights; None where there is none, or none is asked for."""


@dataclass(frozen=True)
class OutOfTheRace:
    """A model that cannot be judged, and why."""

    name: str
    why: str


def resolve_each(config: BenchmarkConfig, phase: Callable[[str], None]) -> list[Contestant | OutOfTheRace]:
    """The models in their order. Each is let go of before the next: all together may need more memory than there is."""
    found: list[Contestant | OutOfTheRace] = []
    for column, model in config.columns.items():
        name = config.called(column)
        phase(f"opening {model.name}: libraries, weights, canary images")
        try:
            found.append(_resolved(config, column, name))
        except Exception as error:
            found.append(OutOfTheRace(name, why_of(error)))
        finally:
            end_warm_process()
    return found


def why_of(error: Exception) -> str:
    """An error in one line, without secrets."""
    said = str(error) if isinstance(error, UserError) else f"{type(error).__name__}: {error}"
    return row_line(redact(" ".join(said.split())))


def _resolved(config: BenchmarkConfig, column: str, name: str) -> Contestant:
    alone = config.alone(column)
    specs = model_specs(alone)
    check_api(alone, specs)
    with resolving_columns(alone, specs, None, {}) as columns_here:
        [resolved] = columns_here()
    twin = _twin(resolved.model, config) if config.random_rows else None
    return Contestant(name=name, column=resolved, twin=twin)


def random_twin(spec: ModelSpec, size: tuple[int, int]) -> ModelSpec | None:
    """The same network, poolings and layers included, with random weights; None for a model that is one itself, and
    where its library builds none from the name alone. `size` is the input's height and width in pixels."""
    library = {"efficientnet-lite": "timm"}.get(spec.family, spec.family)
    if library not in ("timm", "open_clip") or spec.seed is not None:
        return None
    if spec.architecture.startswith(("hf-hub:", "local-dir:")):
        return None
    bare = spec.architecture.split(".")[0] if library == "timm" else spec.architecture
    named = parse_model_name(f"{library}:{bare}/random-{RANDOM_SEED}")
    options = {name: getattr(spec, name) for name in ModelOptions.model_fields}
    return named.model_copy(update={**options, "preprocess": PreprocessOverrides(image_size=size)})


def _twin(model: ModelDescription, config: BenchmarkConfig) -> ModelDescription | None:
    spec = random_twin(model.spec, (model.preprocess.height, model.preprocess.width))
    if spec is None:
        return None
    runtime = Runtime(device=config.cluster.device, num_threads=config.cluster.num_threads, storage=config.storage)
    try:
        [found] = resolve_models([WantedModel(spec=spec, runtime=runtime, canaries=False)])
    except ModelError:
        # Of a network that cannot be built without its weights the figures stand alone.
        return None
    # The very pixels that the model sees.
    return found.description.model_copy(update={"preprocess": model.preprocess})
