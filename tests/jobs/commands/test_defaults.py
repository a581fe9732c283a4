"""What `--help` says of a default is the default: of the verb's Config, or of the constant that it stands for."""

import re
from importlib import import_module
from typing import Any

import pytest
import typer

from jobs.cli import app

COMMANDS = typer.main.get_command(app).commands  # type: ignore[attr-defined]

RUN_TIME = {
    ("classify", "by"): "by whether classes are named",
    ("duplicates", "column"): "the one that a model fills",
    ("evaluate", "plot"): "lies beside the run's own JSON",
    ("export", "column"): "all that the table has",
    ("export", "columns"): "all that the table has",
    ("export", "dtype"): "the column's own type",
    ("index", "metric"): "by the column's type",
    ("index", "num_partitions"): "by the rows",
    ("index", "num_sub_vectors"): "by the vectors' length",
    ("plan", "sample"): "by the cores",
    ("refresh", "tag"): "the day",
    ("tune", "learning_rate"): "by what is trained",
    ("upkeep", "tag"): "the day",
}
"""Options whose default is worked out when the job runs, and from what. Their Config has an empty one, or `auto`."""

CONSTANTS = {
    ("duplicates", "threshold"): ("jobs.duplicates", "THRESHOLD"),
    ("cluster", "sample"): ("jobs.cluster", "SAMPLE"),
    ("index", "target_recall"): ("jobs.index", "TARGET"),
    ("reduce", "pq_bytes"): ("jobs.reduce", "PQ_BYTES"),
    ("search", "candidates"): ("pipelines.search.nearest", "CANDIDATES"),
}
"""Options that are None in the Config until the job puts this in their place."""


NAMED = {"cluster": "ClusteringConfig"}
"""Verbs whose Config is called otherwise: a `ClusterConfig` is that of a Ray cluster."""


def _stated(text: str) -> str | None:
    """What a help text calls the default, else its last number: any number there is taken for one."""
    found = re.findall(r"Default: (.+)\.$", text) or re.findall(r"(\S+) \(default\)", text)
    return (found or re.findall(r"(?<![\w@.,=/])\d[\d.,]*\b", text) or [None])[-1]


def _options(verb: str) -> list[Any]:
    return [each for each in COMMANDS[verb].params if each.param_type_name == "option" and not each.required]


def _config(verb: str) -> Any:
    name = verb.replace("-", "_")
    return getattr(import_module(f"jobs.{name}"), NAMED.get(verb, f"{name.title().replace('_', '')}Config"))


def _field(verb: str, option: Any) -> str:
    names = [each.lstrip("-").replace("-", "_") for each in option.opts]
    return next((each for each in names if each in _config(verb).model_fields), names[0])


def _default(verb: str, field: str) -> Any:
    if (verb, field) in CONSTANTS:
        module, name = CONSTANTS[verb, field]
        return getattr(import_module(module), name)
    return _config(verb).model_fields[field].default


STATED = {
    (verb, _field(verb, option)): stated
    for verb in COMMANDS
    for option in _options(verb)
    if (stated := _stated(option.help or "")) is not None
}


@pytest.mark.parametrize(("verb", "field"), sorted(STATED.keys() - RUN_TIME.keys()))
def test_a_default_that_help_states_is_the_configs(verb: str, field: str) -> None:
    default = _default(verb, field)
    assert type(default)(STATED[verb, field].replace(",", "")) == default


def test_a_default_of_the_command_itself_is_the_configs() -> None:
    own = {(verb, _field(verb, o)): o.default for verb in COMMANDS for o in _options(verb) if o.default}
    assert own
    for (verb, field), default in own.items():
        assert _default(verb, field) == default, (verb, field)


def test_what_is_listed_here_is_stated_there() -> None:
    assert RUN_TIME.keys() | CONSTANTS.keys() <= STATED.keys()
    assert all(_default(*each) in (None, (), "auto") for each in RUN_TIME)
