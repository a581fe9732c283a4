"""`--model` as it is given, once or several times: which model, and the name that its vector column goes by."""

import re
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, PositiveInt

from jobs.config.load import CONF_DIR, merge, read_yaml
from operators.base.columns import RESERVED, VECTOR
from operators.base.errors import UserError
from operators.models.saved.card import card_if_saved
from operators.models.spec import (
    Backend,
    ModelDescription,
    ModelError,
    ModelOptions,
    ModelSpec,
    Precision,
    from_any_folder,
    parse_model_name,
)


def models_named(given: Sequence[str]) -> dict[str, Any]:
    """The configuration that `--model` stands for: `model` for one without a name of its own, else `models`.

    Raises `UserError` where two names collide, `ModelError` for a model of no known form.
    """
    if len(given) == 1 and _split(given[0])[0] is None:
        return {"model": {"name": given[0]}}
    models: dict[str, Any] = {}
    for each in given:
        name, model = _split(each)
        name = derive_name(model) if name is None else name
        if name in models:
            raise UserError(
                f"--model {models[name]['name']} and --model {model} would both be {name!r}: name them, as in "
                f"--model {name}_2={model}"
            )
        models[name] = {"name": model}
    return {"models": models}


def is_conf_model(name: object) -> bool:
    return isinstance(name, str) and name in conf_models()


def conf_models() -> list[str]:
    """The names of `conf/models/`."""
    return sorted(path.stem for path in (CONF_DIR / "models").glob("*.yaml"))


def about_conf_model(name: str) -> str:
    """What a model of `conf/models/` gives and takes, as the first line of its file has it behind the colon."""
    first = (CONF_DIR / "models" / f"{name}.yaml").read_text("utf-8").partition("\n")[0]
    return first.rpartition(": ")[2].removesuffix(".")


def derive_name(model: str) -> str:
    """A name of `conf/models/`, or the model's architecture, in the characters that a column name may have."""
    architecture = model if is_conf_model(model) else _parse(model).architecture
    bare = architecture.rstrip("/").rpartition("/")[2].rpartition(":")[2]
    return re.sub(r"[^a-z0-9]+", "_", bare.lower()).strip("_")


def _parse(name: str, sha256: str | None = None) -> ModelSpec:
    """As `parse_model_name`; of a short name that is none the error names the nearest ones."""
    try:
        return parse_model_name(name, sha256)
    except ModelError:
        there = [*conf_models(), ModelConfig.model_fields["name"].default]
        near = get_close_matches(name.lower(), there, 3, 0.7) or [each for each in there if name.lower() in each][:3]
        if set(name) & set(":@/") or len(name) < 3 or not near:
            raise
        raise ModelError(
            f"model {name!r}: no such model; did you mean {' or '.join(near)}? `pixlake models` lists the short names"
        ) from None


def check_model_name(name: str) -> str:
    """The name itself. Raises `ValueError` where no column can be called after it."""
    if not re.fullmatch(r"[a-z0-9][a-z0-9_]*", name):
        raise ValueError(f"{name!r} names a vector column: use lower case letters, digits and underscores")
    if name == VECTOR:
        raise ValueError(f"{name!r} would make a column {VECTOR}_{name}: name it after what is special about its model")
    if name.startswith(f"{VECTOR}_"):
        raise ValueError(f"{name!r}: leave out {VECTOR}_, the column is called {VECTOR}_<name>")
    return name


def check_column_name(name: str) -> str:
    """The name itself. Raises `ValueError` where a derived column cannot be called so."""
    if not re.fullmatch(r"[a-z][a-z0-9_]*", name) or name in RESERVED - {VECTOR}:
        raise ValueError(
            f"{name!r} cannot name a column that Pixlake makes: use lower case letters, digits and underscores, a "
            "letter first, and no name of Pixlake's own, such as width"
        )
    return name


def trained_dims(model: ModelDescription) -> tuple[int, ...]:
    """The lengths that a model was trained to be cut to: a saved one by its card, one of `conf/models/` by its full
    name."""
    card = card_if_saved(model)
    if card is not None:
        return card.dims
    for name in conf_models():
        values = read_yaml(f"models/{name}")["model"]
        if values["name"] == model.spec.name:
            return tuple(values.get("matryoshka_dims", ()))
    return ()


def _split(given: str) -> tuple[str | None, str]:
    """(name, model). A model's own `=`, as in a weights URI, comes behind a `:` or an `@`."""
    name, equals, model = given.partition("=")
    return (name, model) if equals and not set(name) & set(":@/") else (None, given)


class ModelConfig(ModelOptions):
    """Which model, used how, at which precision."""

    name: Annotated[str, AfterValidator(from_any_folder)] = "efficientnet-lite0"
    """A saved model's folder is made absolute: later runs and queries stand in other folders."""
    sha256: str | None = Field(default=None, pattern=r"^[0-9a-fA-F]{64}$")
    """Expected sha256 of the weights file; required for a pickle."""
    backend: Backend = "auto"
    """What runs the network; part of the space where the precision is reduced."""
    precision: Precision | Literal["auto", "fastest"] = "auto"
    """`auto`: bfloat16 where the cluster file says cuda, float32 on CPUs.

    `fastest`: what the table has, else what this machine's CPU computes fastest at a cosine of at least 0.999 to
    float32; as `auto` on GPUs and on a cluster elsewhere.
    """
    emulate: bool = False
    """Whether CPUs without instructions for the precision may emulate it, at a fifth of the speed of float32."""
    matryoshka_dims: tuple[PositiveInt, ...] = ()
    """Lengths that the model was trained to be cut to. No part of the space: it changes no vector."""

    def spec(self) -> ModelSpec:
        """The name as a `ModelSpec`. Raises `ModelError` for a name of no known form."""
        named = _parse(self.name, self.sha256)
        return named.model_copy(update={name: getattr(self, name) for name in ModelOptions.model_fields})


def from_preset(model: Any) -> Any:
    """A model named as in `conf/models/` takes that file's values, under its own."""
    if not isinstance(model, Mapping) or not is_conf_model(model.get("name")):
        return model
    return merge(read_yaml(f"models/{model['name']}")["model"], {k: v for k, v in model.items() if k != "name"})
