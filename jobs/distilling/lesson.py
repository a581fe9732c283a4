"""The images that a student learns from: gathered, joined to their teacher's vectors, and split by groups."""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from jobs.distilling.config import DistilConfig
from jobs.session.progress import Progress
from jobs.training.images import gather_images
from operators.base.columns import ID, SHA256, URI
from operators.base.errors import UserError
from operators.models.spec import ModelDescription
from pipelines.classification.labelled import components, split_groups
from pipelines.distillation.judged import JUDGED
from pipelines.distillation.teacher import TeacherVectors, principal_rotation, read_teacher, write_turned
from pipelines.training_images.gather import GatheredImages

STOPPING = 0.2
"""Of the images that are not tested, those by which training is stopped."""
_LEAST = 4


@dataclass(frozen=True, kw_only=True)
class TaughtImages:
    """N stored images, and the numbers of those on each side."""

    gathered: GatheredImages
    teacher: TeacherVectors
    targets: Path
    """.npy of the vectors that the student learns, at the places of the teacher's."""
    train: np.ndarray
    held: np.ndarray
    tested: np.ndarray
    groups: np.ndarray
    """(N,) int64: images of one group are never asked about each other."""
    labels: np.ndarray | None
    """(N,) int64: below 0 for none; None where no label is asked for."""
    ids: pa.Array
    without_vector: int
    changed: int

    def digest(self) -> str:
        """Of the very images and vectors, and the sides that they are on."""
        data = hashlib.sha256()
        for column in (self.ids, self.teacher.sha256):
            data.update(json.dumps(column.to_pylist()).encode())
        targets = np.load(self.targets, mmap_mode="r")
        for start in range(0, len(targets), 8192):
            data.update(np.ascontiguousarray(targets[start : start + 8192]).data)
        for each in (self.teacher.at, self.train, self.held, self.tested):
            data.update(np.ascontiguousarray(each).data)
        return data.hexdigest()


def gather_taught(
    config: DistilConfig, dataset: Any, column: str, student: ModelDescription, folder: Path, progress: Progress
) -> TaughtImages:
    """Raises `UserError` where the images cannot be read, have no vectors in the column, or are too few to be split."""
    gathered = gather_images(
        config.images,
        student.preprocess,
        folder,
        progress,
        sample=config.sample,
        seed=config.seed,
        whole=True,
    )
    table = gathered.images.table()
    progress.phase(f"reading the teacher's vectors from {config.table}")
    ids, uris = (table[each.name].combine_chunks() for each in (ID, URI))
    path = _own_file(config, column, folder, "teacher")
    teacher = read_teacher(dataset, column, ids, uris, path)
    there = np.flatnonzero(teacher.at >= 0)
    changed = teacher.changed(there, table[SHA256.name].combine_chunks().take(pa.array(there)).cast(pa.string()))
    taught = there[~changed]
    group = _kept(config, table, config.group, "--group")
    keys = [table[SHA256.name].combine_chunks(), ids, *([] if group is None else [group])]
    groups = components(keys, table.num_rows)
    train, held, tested = _split(config, groups, taught)
    label = _kept(config, table, config.label, "--label")
    progress.note(
        f"{len(taught):,} images with a teacher's vector: {len(train):,} to learn from, {len(held):,} to stop by, "
        f"{len(tested):,} to test on; their vectors are {teacher.stored.nbytes / 1e6:,.1f} MB on disk, as float16"
    )
    return TaughtImages(
        gathered=gathered,
        teacher=teacher,
        targets=path if config.dims is None else _turned(teacher, _own_file(config, column, folder, "turned")),
        train=train,
        held=held,
        tested=tested,
        groups=groups,
        labels=None if label is None else _codes(label),
        ids=ids,
        without_vector=table.num_rows - len(there),
        changed=int(changed.sum()),
    )


def _kept(config: DistilConfig, table: pa.Table, column: str | None, option: str) -> pa.Array | None:
    if column is None:
        return None
    name = config.kept(column)
    if name not in table.column_names:
        raise UserError(f"{option} {column}: the source has no such column; it has: {', '.join(table.column_names)}")
    return table[name].combine_chunks()


def _codes(values: pa.Array) -> np.ndarray:
    codes: np.ndarray = pc.fill_null(pc.dictionary_encode(values).indices, -1).to_numpy().astype(np.int64)
    return codes


def _split(config: DistilConfig, groups: np.ndarray, taught: np.ndarray) -> list[np.ndarray]:
    """Numbers of the images to learn from, to stop by, and to test on; groups are on one side."""
    rest = 1 - config.test
    shares = (rest * (1 - STOPPING), rest * STOPPING)
    train, held, tested = (taught[part] for part in split_groups(groups[taught], shares, seed=config.seed))
    if min(len(train), len(held), len(tested)) < _LEAST:
        raise UserError(
            f"{len(taught):,} images with a vector, in {len(np.unique(groups[taught])):,} groups, are too few to learn "
            f"from some, to stop by some and to test on the rest ({len(train)}, {len(held)} and {len(tested)}): name "
            "more images, or group less"
        )
    return [train, held, np.sort(np.random.default_rng(config.seed).permutation(tested)[:JUDGED])]


def _own_file(config: DistilConfig, column: str, folder: Path, what: str) -> Path:
    """Under a name of this job: others may share its `--work` folder."""
    own = hashlib.sha256(json.dumps([config.out, config.table, column]).encode()).hexdigest()[:16]
    return folder / f"{what}-{own}.npy"


def _turned(teacher: TeacherVectors, path: Path) -> Path:
    """The teacher's vectors, turned so that their first numbers hold the most."""
    write_turned(teacher.stored, principal_rotation(teacher.stored), path)
    return path


def recipe_of(config: DistilConfig) -> dict[str, Any]:
    """All of the settings that decides the student, beside its network and its images; JSON-ready."""
    what = ("from_scratch", "space", "dims", "cosine", "relational", "hard_examples", "crops", "least_area", "test")
    how = ("batch", "micro_batch", "steps", "look_every", "patience", "learning_rate", "weight_decay", "seed")
    made = {name: getattr(config, name) for name in (*what, *how)}
    return {**made, "dims": None if config.dims is None else list(config.dims), "precision": config.precision}
