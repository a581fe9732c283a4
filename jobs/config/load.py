"""From YAML files, includes and `--set a.b=c` to one validated model; unknown keys are errors with their path."""

from collections.abc import Collection, Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from types import UnionType
from typing import Any, Literal, TypeVar, Union, get_args, get_origin

import yaml
from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

import conf
from operators.base.errors import UserError

CONF_DIR = Path(conf.__file__).parent

M = TypeVar("M", bound=BaseModel)


class ConfigError(UserError):
    """The configuration cannot be used; the message names the key, the file where known, and what to do."""


def load_config(
    model: type[M],
    *,
    files: Sequence[str] = (),
    sets: Sequence[str] = (),
    base: Mapping[str, Any],
    without: Collection[str] = (),
) -> M:
    """The model from the files, merged left to right, then `base` (what the command line names), then `sets`.

    A file's own `include:` list is merged before the file. The keys `without` are not taken from files. Raises
    `ConfigError`.
    """
    values: dict[str, Any] = {}
    for name in files:
        values = merge(values, read_yaml(name))
    values = merge({key: value for key, value in values.items() if key not in without}, base)
    for assignment in sets:
        values = merge(values, parse_assignment(assignment))
    try:
        return model.model_validate(values)
    except ValidationError as error:
        raise ConfigError(explain(error, model)) from None


def on_local_cluster(values: Any, **here: Any) -> Any:
    """The values with a cluster that builds on `conf/clusters/local.yaml`, with `here`, unless the cluster has stages
    itself."""
    if not isinstance(values, Mapping):
        return values
    cluster = values.get("cluster", {})
    if isinstance(cluster, Mapping) and "stages" not in cluster:
        cluster = merge({**read_yaml("clusters/local")["cluster"], **here}, cluster)
    return {**values, "cluster": cluster}


def merge(low: Mapping[str, Any], high: Mapping[str, Any]) -> dict[str, Any]:
    """`high` over `low`; mappings are merged key by key, anything else is replaced."""
    out = dict(low)
    for key, value in high.items():
        below = out.get(key)
        out[key] = merge(below, value) if isinstance(below, Mapping) and isinstance(value, Mapping) else value
    return out


def find_file(name: str, beside: Path | None = None) -> Path:
    """A path as given, beside the including file, or a name in Pixlake's own `conf/` (`clusters/local`)."""
    candidates = [Path(name)]
    if beside is not None:
        candidates.insert(0, beside / name)
    candidates.append(CONF_DIR / (name if name.endswith(".yaml") else f"{name}.yaml"))
    for path in candidates:
        if path.is_file():
            return path
    known = sorted(str(p.relative_to(CONF_DIR).with_suffix("")) for p in CONF_DIR.rglob("*.yaml"))
    near = [each for each in known if Path(each).name == Path(name).stem]
    hint = f"did you mean {near[0]}?" if near else f"none of Pixlake's own: {', '.join(known)}"
    raise ConfigError(f"configuration {name!r}: no such file (the working folder is {Path.cwd()}), and {hint}")


def read_yaml(name: str, beside: Path | None = None, seen: tuple[Path, ...] = ()) -> dict[str, Any]:
    """One file with its includes merged in. Raises `ConfigError` with file and line where it is not YAML."""
    path = find_file(name, beside).resolve()
    if path in seen:
        raise ConfigError(f"configuration {path}: includes itself, through {' -> '.join(map(str, seen))}")
    try:
        values = yaml.safe_load(path.read_text("utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"configuration {path}: not YAML: {error}") from None
    if values is None:
        values = {}
    if not isinstance(values, dict):
        raise ConfigError(f"configuration {path}: must be a mapping of keys to values, not a {type(values).__name__}")
    includes = values.pop("include", [])
    if not isinstance(includes, list) or not all(isinstance(i, str) for i in includes):
        raise ConfigError(f"configuration {path}: include must be a list of file names")
    merged: dict[str, Any] = {}
    for include in includes:
        merged = merge(merged, read_yaml(include, path.parent, (*seen, path)))
    return merge(merged, values)


def parse_assignment(assignment: str) -> dict[str, Any]:
    """`a.b=c` as nested mappings; the value is read as YAML."""
    key, equals, text = assignment.partition("=")
    parts = key.strip().split(".")
    if not equals or not all(parts):
        raise ConfigError(f"--set {assignment!r}: write it as key.key=value")
    try:
        value: Any = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ConfigError(f"--set {key}: the value is not YAML: {error}") from None
    for part in reversed(parts):
        value = {part: value}
    nested: dict[str, Any] = value
    return nested


def explain(error: ValidationError, model: type[BaseModel]) -> str:
    """One line per wrong key: its path, what is wrong, and the nearest known key."""
    wrong: dict[str, list[str]] = {}
    for detail in error.errors():
        path, what = _explain_one(detail, model)
        wrong.setdefault(path, []).append(what)
    # Of a value that may be of several kinds pydantic says for each why it is not.
    return "\n  ".join(f"{path}: {'; or: '.join(whats)}" for path, whats in wrong.items())


def _explain_one(detail: ErrorDetails, model: type[BaseModel]) -> tuple[str, str]:
    """(path of the key, what is wrong with it)."""
    keys, known = _keys_at(model, detail["loc"])
    path = ".".join(keys) or "configuration"
    if detail["type"] == "extra_forbidden":
        return path, f"unknown key; {_meant(str(detail['loc'][-1]), known, model)}"
    if detail["type"] == "missing":
        return path, "must be given"
    if detail["type"] in ("union_tag_not_found", "union_tag_invalid"):
        return _explain_tag(path, detail["ctx"])
    if detail["type"] in ("tuple_type", "list_type"):
        return path, f"holds a list: write [{detail['input']}] in place of {detail['input']!r}"
    if detail["type"] in ("model_type", "dict_type"):
        return path, f"holds settings, a line `key: value` each, and not {detail['input']!r}"
    return path, detail["msg"].removeprefix("Value error, ")


def _meant(key: str, known: Sequence[str], model: type[BaseModel]) -> str:
    """The key that an unknown one was meant to be: a near one beside it, or one of that name in a section."""
    near = [repr(name) for name in get_close_matches(key, known, n=1)] or [
        repr(f"{section}.{key}")
        for section, field in model.model_fields.items()
        for inner in _models_in(field.annotation)
        if key in inner.model_fields
    ]
    return f"did you mean {near[0]}?" if len(near) == 1 else f"known here: {', '.join(sorted(known))}"


def _explain_tag(path: str, told: Mapping[str, str]) -> tuple[str, str]:
    """As `_explain_one` for a key that says which of several models is meant (pydantic's discriminator)."""
    key = f"{path}.{told['discriminator'].strip(chr(39))}"
    return key, f"{told['tag']!r} is none of {told['expected_tags']}" if "tag" in told else "must be given"


def _keys_at(model: type[BaseModel], path: Sequence[int | str]) -> tuple[list[str], list[str]]:
    """The keys that a user writes for an error's path, and the fields of the nested model that holds the last one.

    In a union of models, pydantic puts the discriminator's value of the model that was meant into the path.
    """
    here: list[type[BaseModel]] = [model]
    keys: list[str] = []
    known: list[str] = []
    in_mapping = False
    for part in path:
        meant = [each for each in here if _is_tag(each, part)]
        if len(here) > 1 and meant:
            here = meant
            continue
        keys.append(str(part))
        known = list(here[0].model_fields) if len(here) == 1 and not in_mapping else []
        if in_mapping or isinstance(part, int):
            # A key of a user's choice, or a place in a list: what it holds is known already.
            in_mapping = False
            continue
        field = here[0].model_fields.get(part) if len(here) == 1 else None
        in_mapping = field is not None and get_origin(field.annotation) is dict
        here = _models_in(field.annotation) if field else []
        if field is not None and not here and not in_mapping and get_origin(field.annotation) in (Union, UnionType):
            # What follows is pydantic's name for one of the kinds that the value may be of.
            break
    return keys, known


def _is_tag(model: type[BaseModel], part: int | str) -> bool:
    return any(
        get_origin(f.annotation) is Literal and part in get_args(f.annotation) for f in model.model_fields.values()
    )


def _models_in(annotation: Any) -> list[type[BaseModel]]:
    """The model classes inside an annotation such as `tuple[Model, ...]` or `One | Other | None`."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [found for arg in get_args(annotation) for found in _models_in(arg)]
