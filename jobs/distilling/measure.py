"""A trained student beside its teacher: what its vectors find, and what both networks cost."""

import time
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pyarrow as pa

from jobs.distilling.config import DistilConfig
from jobs.distilling.lesson import TaughtImages
from jobs.distilling.report import NetworkFigures, VectorFigures, figures_of
from jobs.session.progress import Progress
from operators.base.errors import UserError, row_line
from operators.models.families import APIS, IMPORTED
from operators.models.spec import ModelDescription
from operators.storage.redact import redact
from pipelines.distillation.judged import StudentShares, judge_student
from pipelines.distillation.student import (
    Embedding,
    NetworkCost,
    StudentMaker,
    images_per_second,
    network_cost,
    tower_embedder,
)
from pipelines.space.field import read_space

if TYPE_CHECKING:
    from operators.models.saved.tower import OwnTower

_AT_ONCE = 256


class StudentMeasured(NamedTuple):
    figures: list[VectorFigures]
    """Of the teacher, of the student before training, and of the student at each length."""
    dims: tuple[int, ...]

    @property
    def student(self) -> VectorFigures:
        """At its own length."""
        return next(each for each in self.figures if each.who == "student")

    @property
    def before(self) -> dict[str, float]:
        """Metrics of the network before training."""
        return _metrics(each for each in self.figures if each.who == "untrained")

    @property
    def after(self) -> dict[str, float]:
        return _metrics(each for each in self.figures if each.who == "student")


def _metrics(figures: Iterable[VectorFigures]) -> dict[str, float]:
    found: dict[str, float] = {}
    for each in figures:
        values = {"recall@10": each.recall, "1nn": each.right, "recall@10_across": each.across}
        found |= {f"{name}_{each.dim}": value for name, value in values.items() if value is not None}
    return found


def measure(config: DistilConfig, taught: TaughtImages, maker: StudentMaker, tower: "OwnTower") -> StudentMeasured:
    """On the images that were held out, as an embed job would prepare them."""
    dims, tested = config.dims or (maker.outputs,), taught.tested
    teacher_MD, groups = taught.teacher.units(tested), taught.groups[tested]
    labels = None if taught.labels is None else taught.labels[tested]
    across = config.space == "teacher"

    def judged(network: "OwnTower") -> tuple[StudentShares, list[StudentShares]]:
        vectors = _vectors(tower_embedder(network, maker.description, "cpu").embed, taught, tested)
        return judge_student(teacher_MD, vectors, dims, groups, labels, across=across)

    teacher, students = judged(tower)
    untrained = judged(maker())[1][0]
    figures = [figures_of("teacher", teacher), figures_of("untrained", untrained)]
    return StudentMeasured([*figures, *(figures_of("student", each) for each in students)], dims)


def _vectors(embed: Embedding, taught: TaughtImages, numbers: np.ndarray) -> np.ndarray:
    images = taught.gathered.images
    parts = [embed(images.seen(numbers[at : at + _AT_ONCE])) for at in range(0, len(numbers), _AT_ONCE)]
    return np.concatenate(parts)


class Speeds(NamedTuple):
    student: NetworkFigures
    teacher: NetworkFigures | None
    why_not: str | None
    """Why the teacher was not run."""


def teacher_network(
    config: DistilConfig, field: pa.Field, tower: "OwnTower", student: ModelDescription, progress: Progress
) -> Speeds:
    """Both networks' size and speed here, on the CPU; the student's alone where the teacher's cannot be loaded."""
    model = read_space(field, config.table)[1]
    progress.phase(f"measuring the speed of the student and of {model.spec.name}")
    own = tower_embedder(tower, student, "cpu")
    costs = [network_cost(own.tower, student)]
    running: list[tuple[Embedding, ModelDescription]] = [(own.embed, student)]
    why_not = None
    try:
        embedder = _teacher_embedder(config, model)
        costs.append(network_cost(embedder.tower, model))
        running.append((embedder.embed, model))
    except UserError as error:
        why_not = row_line(redact(" ".join(str(error).split())))
    rates = images_per_second(running, time.perf_counter)
    made = [
        _network(name, cost, rate)
        for name, cost, rate in zip((config.student.name, model.spec.name), costs, rates, strict=False)
    ]
    return Speeds(made[0], made[1] if len(made) > 1 else None, why_not)


def _teacher_embedder(config: DistilConfig, model: ModelDescription) -> Any:
    from operators.models.load import load_image_embedder
    from operators.models.runtime import Runtime

    if model.spec.family in (IMPORTED, "null", *APIS):
        raise UserError(f"{model.spec.name} is no network that Pixlake runs")
    return load_image_embedder(model, Runtime(storage=config.storage))


def _network(name: str, cost: NetworkCost, rate: float) -> NetworkFigures:
    return NetworkFigures(name=name, parameters=cost.parameters, macs=cost.macs, images_per_s=round(rate, 2))
