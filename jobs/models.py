"""`pixlake models`: names to give to --model, and what is known of each."""

from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict, model_validator

from jobs.config.keys import without_embed_keys
from jobs.config.load import read_yaml
from jobs.config.model_names import ModelConfig, about_conf_model, conf_models, from_preset
from jobs.session.progress import working
from operators.models.backends.choose import backend_of
from operators.models.families import APIS, LIGHT
from operators.models.resolve import WantedModel, resolve_models
from operators.models.runtime import Runtime
from operators.models.saved.card import card_if_saved
from operators.models.spec import Backend, ModelDescription, ModelSpec
from operators.pixels.preprocess import Preprocess
from operators.storage.stores import NO_OPTIONS, StorageOptions


class ModelsConfig(BaseModel):
    """Which model is shown, used how. The file of an embed job serves as it is."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str | None = None
    """The model to show: None lists the short names; `open_clip` and `timm` list the library's; anything else is
    resolved and shown."""
    model: ModelConfig = ModelConfig()
    """Its pooling, preprocessing and so on, as for an embed job; the name is `name`."""
    storage: StorageOptions = NO_OPTIONS
    """Storage settings for a weights URI."""

    @model_validator(mode="before")
    @classmethod
    def _name_the_model(cls, values: Any) -> Any:
        values = without_embed_keys(values, cls.model_fields)
        if not isinstance(values, Mapping):
            return values
        model = values.get("model") or {}
        if isinstance(model, Mapping) and values.get("name") is not None:
            model = from_preset({**model, "name": values["name"]})
        return {**values, "model": model}


class Models(BaseModel):
    """Names with what each stands for, or one model's description."""

    names: dict[str, str] = {}
    about: dict[str, str] = {}
    """What the model of each short name gives and takes, in words."""
    model: ModelDescription | None = None
    backend: str | None = None
    """What runs the model's network here, on a CPU in float32; None where it has none, or is asked over the network."""


def run(config: ModelsConfig) -> Models:
    """Names, or one model resolved. Raises `ModelError` for a name that cannot be resolved."""
    if config.name is None:
        names = {name: str(read_yaml(f"models/{name}")["model"]["name"]) for name in conf_models()}
        return Models(names=names, about={name: about_conf_model(name) for name in names})
    if config.name == "open_clip":
        with working("opening open_clip"):
            import open_clip

        return Models(names={f"open_clip:{a}/{tag}": a for a, tag in open_clip.list_pretrained()})
    if config.name == "timm":
        with working("opening timm"):
            import timm

        return Models(names={f"timm:{name}": name for name in timm.list_pretrained()})
    with working(f"opening {config.model.name}"):
        wanted = WantedModel(spec=config.model.spec(), runtime=Runtime(storage=config.storage), canaries=False)
        found = resolve_models([wanted])[0].description
    return Models(model=found, backend=_backend(found, config.model.backend))


def _backend(model: ModelDescription, asked: Backend) -> str | None:
    if model.spec.family in LIGHT:
        return None
    return backend_of(model, asked, precision="float32", device="cpu", compile=False)


def as_text(models: Models) -> str:
    if models.model is None:
        return "\n".join(_in_columns(models))
    model, spec, pre = models.model, models.model.spec, models.model.preprocess
    lines = {
        "model": spec.name,
        "architecture": f"{spec.architecture} ({spec.family}), {model.num_parameters:,} parameters",
        "vectors": f"{model.dim}-d",
        "pooling": _pooling(spec),
        "search by": f"image, id{', text' if model.text else ''}",
        "weights": _weights(model),
        "backend": f"{models.backend}, in float32 on CPUs" if models.backend else "none",
        "size": f"{pre.height} x {pre.width}",
        "resize": _resize(pre),
        "mean, std": f"{pre.mean}, {pre.std}",
    }
    if spec.family in APIS:
        lines = {name: text for name, text in lines.items() if name not in ("pooling", "backend", "mean, std")}
        lines["architecture"] = f"{spec.architecture} ({spec.family}), asked over the network"
    card = card_if_saved(model)
    if card is not None:
        lines["pooling"] = _pooling(card.network.spec(spec.name))
        lines["made"] = card.in_words()
    notes = [("note", note) for note in model.notes]
    return "\n".join(f"{name:12}  {text}" for name, text in [*lines.items(), *notes])


def _in_columns(models: Models) -> Iterator[str]:
    """Each name, what its model gives and takes where that is known, and what it stands for."""
    names, abouts = (max(map(len, texts), default=0) for texts in (models.names, models.about.values()))
    for name, stands_for in models.names.items():
        about = f"{models.about[name]:{abouts}}  " if name in models.about else ""
        yield f"{name:{names}}  {about}{stands_for if stands_for != name else ''}".rstrip()


def _pooling(spec: ModelSpec) -> str:
    power = f", power {spec.gem_power:g}" if spec.pooling == "gem" else ""
    if spec.layer is None:
        return f"{spec.pooling}{power}"
    return f"{spec.pooling}{power}, after layer {spec.layer}, final norm {'applied' if spec.final_norm else 'left out'}"


def _weights(model: ModelDescription) -> str:
    if not model.weights_sha256:
        return "the provider's"
    seed = model.spec.seed
    random = f" (random, seed {seed}: for benchmarks and tests only)" if seed is not None else ""
    return f"sha256 {model.weights_sha256}{random}"


def _resize(pre: Preprocess) -> str:
    """The size that images are resized to, and how much of it the centre crop leaves: a fraction of one side."""
    mode = {"shortest": "shorter side", "longest": "longer side", "squash": "both sides"}[pre.resize]
    square = pre.resize_height == pre.resize_width
    size = str(pre.resize_height) if square else f"{pre.resize_height} x {pre.resize_width}"
    text = f"{mode} to {size}, {pre.interpolation}"
    if (pre.height, pre.width) == (pre.resize_height, pre.resize_width):
        crop = "whole" if pre.resize == "squash" else "centre crop" if pre.resize == "shortest" else "padded"
        return f"{text}, {crop}" + (f" with {pre.fill}" if pre.resize == "longest" else "")
    return f"{text}, centre crop of {pre.height / pre.resize_height:.4g}"
