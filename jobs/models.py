"""`pixlake models`: names to give to --model, and what is known of each."""

from pydantic import BaseModel, ConfigDict

from jobs.config import read_yaml
from jobs.model_names import conf_models, is_conf_model
from jobs.progress import working
from operators.models.spec import ModelDescription, describe_model, parse_model_name


class ModelsConfig(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str | None = None
    """None lists the short names; `open_clip` and `timm` list the library's; anything else is resolved and shown."""


class Models(BaseModel):
    """Names with what each stands for, or one model's description."""

    names: dict[str, str] = {}
    model: ModelDescription | None = None


def run(config: ModelsConfig) -> Models:
    """Raises `ModelError` for a name that cannot be resolved."""
    if config.name is None:
        return Models(names={name: str(read_yaml(f"models/{name}")["model"]["name"]) for name in conf_models()})
    if config.name == "open_clip":
        with working("opening open_clip"):
            import open_clip

        return Models(names={f"open_clip:{a}/{tag}": a for a, tag in open_clip.list_pretrained()})
    if config.name == "timm":
        with working("opening timm"):
            import timm

        return Models(names={f"timm:{name}": name for name in timm.list_pretrained()})
    name = config.name
    if is_conf_model(name):
        name = str(read_yaml(f"models/{name}")["model"]["name"])
    with working(f"opening {name}"):
        return Models(model=describe_model(parse_model_name(name)))


def as_text(models: Models) -> str:
    if models.model is None:
        width = max(map(len, models.names))
        return "\n".join(
            f"{name:{width}}  {stands_for}" if stands_for != name else name for name, stands_for in models.names.items()
        )
    model, pre = models.model, models.model.preprocess
    return "\n".join(
        [
            f"model         {model.spec.name}",
            f"architecture  {model.spec.architecture} ({model.spec.family}), {model.num_parameters:,} parameters",
            f"vectors       {model.dim}-d",
            f"search by     image, id{', text' if model.text else ''}",
            f"weights       sha256 {model.weights_sha256}"
            + (
                f" (random, seed {model.spec.seed}: for benchmarks and tests only)"
                if model.spec.seed is not None
                else ""
            ),
            f"size          {pre.height} x {pre.width}, from {pre.resize} {pre.resize_height} x {pre.resize_width}, "
            f"{pre.interpolation}",
            f"mean, std     {pre.mean}, {pre.std}",
        ]
    )
