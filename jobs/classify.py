"""`pixlake classify`: which class each row is of, by their names, by labelled neighbours or by a linear probe."""

import time
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field, field_validator, model_validator

from jobs.config.model_names import check_column_name
from jobs.config.read import ClusterReadConfig
from jobs.labelling.classify_report import ClassCount, ClassifyReport
from jobs.labelling.fill import choose_single, fill, labelling_there, named_beside, refuse_other
from jobs.labelling.learn import Learned, MeasuredAs, learned_neighbours, learned_probe, named_classes
from jobs.reports.run_report import store_run_file
from jobs.session.progress import Progress
from operators.base.errors import UserError
from operators.storage.artifacts import Artifact, read_artifact, write_artifact
from pipelines.classification.labelled import LabelledRows, draw_labelled
from pipelines.classification.zero_shot import TEMPLATES, check_templates, class_vectors
from pipelines.evaluation.labels import check_label
from pipelines.scan.live import live_rows
from pipelines.scan.plain import plain_scan
from pipelines.search.query import embed_texts
from pipelines.space.field import digest_of, read_space
from pipelines.space.labelling import Labelling, locate_labelling

RUN_FILE = "classes.json"


class ClassifyConfig(ClusterReadConfig):
    """Which vectors are classified, by what, and what the columns are called."""

    by: Literal["zero_shot", "probe", "knn"] | None = None
    """Default: `zero_shot` where classes are named, else `probe`."""
    column: str | None = None
    """A column that a model fills; default: the only one."""
    classes: tuple[str, ...] = ()
    """Names of the classes, for `zero_shot`."""
    templates: tuple[str, ...] = TEMPLATES
    """Texts with `{}` where the name goes."""
    label: str | None = None
    """The column of known labels: what `probe` and `knn` learn from, and what all are measured by."""
    group: str | None = None
    """A column, such as the source or the patient: rows of one value stay on one side of the split."""
    name: str = "predicted"
    """The column of classes; `NAME_score` and `NAME_margin` lie beside it."""
    threshold: float = Field(default=0.0, ge=0, le=1)
    """A row whose score is under it gets no class."""
    neighbours: int = Field(default=10, ge=1)
    """How many have a vote."""
    sample: int = Field(default=50_000, ge=10)
    """Labelled rows that are used, at most."""
    seed: int = Field(default=0, ge=0)

    @field_validator("name")
    @classmethod
    def _is_a_column_name(cls, name: str) -> str:
        return check_column_name(name)

    @model_validator(mode="after")
    def _has_what_it_takes(self) -> "ClassifyConfig":
        if self.by is None and not self.classes and self.label is None:
            raise ValueError("by what: --class NAME for each class, or --label COLUMN to learn from")
        if self.method == "zero_shot" and len(set(self.classes)) < 2:
            raise ValueError("--class (or --classes FILE) names two classes at least")
        if self.method != "zero_shot" and self.classes:
            raise ValueError(f"--by {self.method} learns its classes from --label; leave --class and --classes out")
        if self.method != "zero_shot" and self.label is None:
            raise ValueError(f"--by {self.method} needs --label, the column of known labels to learn from")
        if len(set(self.classes)) < len(self.classes) or not all(each.strip() for each in self.classes):
            raise ValueError("classes have each a name of their own")
        check_templates(self.templates)
        return self

    @property
    def method(self) -> Literal["zero_shot", "probe", "knn"]:
        return self.by or ("zero_shot" if self.classes else "probe")

    @property
    def names(self) -> dict[str, str]:
        """What the columns hold -> their names; the score first, which every row has."""
        beside = {part: named_beside(self.name, part) for part in ("score", "margin")}
        return {"score": beside["score"], "label": self.name, "margin": beside["margin"]}

    @property
    def asked(self) -> dict[str, Any]:
        """What decides the classes, beside the vectors and their labels."""
        asked: dict[str, Any] = {"by": self.method, "label": self.label, "seed": self.seed}
        if self.method == "zero_shot":
            asked |= {"classes": list(self.classes), "templates": list(self.templates)}
        if self.label is not None:
            asked |= {"group": self.group, "sample": self.sample, "neighbours": self.neighbours}
        return asked | {"threshold": self.threshold}


def read_names(path: str) -> tuple[str, ...]:
    """The names of a text file, one a line; empty lines are left out. Raises `UserError`."""
    try:
        # With or without the byte order mark that Windows' editors put in front.
        lines = Path(path).expanduser().read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"--classes {path}: cannot be read: {error}; a text file with a name a line") from None
    return tuple(line.strip() for line in lines if line.strip())


def run(config: ClassifyConfig) -> ClassifyReport:
    """Make the classifier, unless the columns are there, and fill the columns. Raises `UserError` for what cannot be
    classified as asked, `TableError` and `OSError` where storage fails."""
    began, table = time.monotonic(), config.stored
    dataset = table.latest()
    base = choose_single(config.table, dataset.schema, config.column)
    for option, name in (("--label", config.label), ("--group", config.group)):
        if name is not None:
            check_label(config.table, dataset.schema, name, option)
    with Progress() as progress:
        labelling = labelling_there(table, dataset.schema, config.names, base)
        if labelling is None:
            labelling = _made(config, dataset, base, progress)
        artifact = _artifact_of(config, labelling)
        progress.phase(f"classifying the rows of {config.table}")
        done = fill(table, config.names, labelling, config.cluster, progress)
        progress.phase("counting the classes")
        counts, scored, abstained, unscored = _counted(table.at(done.version), config.names)
    made_at = datetime.now(UTC)
    run_id = f"classify-{made_at:%Y%m%dT%H%M%S%fZ}"
    report = ClassifyReport(
        table=config.table,
        version=done.version,
        made_at=made_at.isoformat(timespec="seconds"),
        by=labelling.method,
        column=base.name,
        space_digest=labelling.space_digest,
        names=config.names,
        threshold=labelling.threshold,
        asked=artifact.settings["asked"],
        artifact=labelling.artifact.uri,
        sha256=labelling.artifact.sha256,
        filled_now=done.rows,
        without_vector=done.without_source,
        not_finite=done.not_finite,
        no_direction=done.impossible,
        rows=scored,
        abstained=abstained,
        unscored=unscored,
        counts=[ClassCount(name=name, rows=rows) for name, rows in counts.most_common()],
        measured=artifact.settings["measured"],
        seconds=round(time.monotonic() - began, 3),
        json_file=f"{table.names.runs}/{run_id}/{RUN_FILE}",
    )
    store_run_file(report, run_id, RUN_FILE, table.names, table.storage)
    return report


def _artifact_of(config: ClassifyConfig, labelling: Labelling) -> Artifact:
    """The classifier. Raises `RefusedError` where it was made with other settings than asked for."""
    table, columns = config.stored, [*config.names.values()]
    found = locate_labelling(labelling, table.artifacts, table.storage).artifact
    if labelling.method == "cluster":
        raise refuse_other(table, config.name, labelling, "classes", columns)
    artifact = read_artifact(found, table.storage)
    there, asked = artifact.settings["asked"], config.asked
    other = sorted(name for name in there.keys() | asked.keys() if there.get(name) != asked.get(name))
    if other:
        said = ", ".join(
            f"{name} {asked.get(name)}, there {there.get(name)}"
            if not isinstance(asked.get(name) or there.get(name), list)
            else f"other {name}"
            for name in other
        )
        told = labelling.model_copy(update={"part": "label"})
        raise refuse_other(table, config.name, told, said, columns)
    return artifact


def _made(config: ClassifyConfig, dataset: Any, base: pa.Field, progress: Progress) -> Labelling:
    """A new classifier, stored beside the table."""
    record, model = read_space(base, config.table)
    if config.method == "zero_shot" and not model.text:
        raise UserError(
            f"table {config.table}: {model.spec.name}, which fills {base.name}, gives no vectors for words, so names "
            "cannot be compared with its images; --label COLUMN learns the classes from rows whose class is known, or "
            "embed the images with an open_clip model"
        )
    rows = _rows(config, dataset, base.name, progress)
    learned = _learned(config, rows, model, progress)
    settings = {
        "asked": config.asked,
        "column": base.name,
        "space_digest": digest_of(base),
        "classes": list(learned.classes),
        "temperature": learned.temperature,
        "neighbours": config.neighbours,
        "measured": None if learned.measured is None else learned.measured.model_dump(mode="json"),
    }
    artifact = Artifact(
        kind=config.method,
        tensors=learned.tensors,
        space=record,
        rows=0 if rows is None else len(rows),
        settings=settings,
    )
    return Labelling(
        method=config.method,
        part="score",
        base=base.name,
        space_digest=digest_of(base),
        groups=len(learned.classes),
        artifact=write_artifact(artifact, config.stored.artifacts, config.storage_of_table),
        threshold=config.threshold,
        learned_from=None if config.method == "zero_shot" else config.label,
        neighbours=config.neighbours if config.method == "knn" else None,
    )


def _rows(config: ClassifyConfig, dataset: Any, column: str, progress: Progress) -> LabelledRows | None:
    if config.label is None:
        return None
    progress.phase(f"drawing rows with {config.label}")
    rows = draw_labelled(dataset, column, config.label, config.group, rows=config.sample, seed=config.seed)
    if not len(rows):
        raise UserError(f"table {config.table}: no row has both {config.label} and a vector in {column}")
    return rows


def _learned(config: ClassifyConfig, rows: LabelledRows | None, model: Any, progress: Progress) -> Learned:
    how = MeasuredAs(
        label=config.label or "",
        threshold=config.threshold,
        neighbours=config.neighbours,
        seed=config.seed,
    )
    if config.method == "zero_shot":
        progress.phase(f"embedding {len(config.classes) * len(config.templates):,} texts with {model.spec.name}")
        classes = class_vectors(
            config.classes, config.templates, lambda texts: embed_texts(texts, model, config.storage)
        )
        return named_classes(classes, config.classes, rows, how, progress.phase)
    assert rows is not None
    learn = learned_probe if config.method == "probe" else learned_neighbours
    return learn(rows, how, progress.phase)


def _counted(dataset: Any, names: dict[str, str]) -> tuple[Counter[str], int, int, int]:
    """(rows by class, rows with a score, those of them without a class, rows without a score), of rows that are not
    marked as deleted."""
    counts: Counter[str] = Counter()
    scored = unscored = 0
    for batch in plain_scan(dataset, [names["label"], names["score"]], live_rows(dataset.schema)):
        unscored += batch[names["score"]].null_count
        scored += batch.num_rows - batch[names["score"]].null_count
        found = pc.value_counts(batch[names["label"]].drop_null())
        counts.update(dict(zip(found.field(0).to_pylist(), found.field(1).to_pylist(), strict=True)))
    return counts, scored, scored - counts.total(), unscored
