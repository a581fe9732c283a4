"""`pixlake train-head`: a head that makes a table's vectors shorter, trained on them, stored beside the table."""

import hashlib
import json
import time
from dataclasses import asdict
from functools import partial
from typing import Annotated, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import BeforeValidator, Field, model_validator

from jobs.config.read import ClusterReadConfig
from jobs.labelling.fill import choose_single
from jobs.session.progress import Progress
from jobs.steps.lengths import as_lengths
from jobs.steps.run import WorkersOptions, train_steps
from jobs.training.report import TrainHeadReport, against_pca, figures_of
from operators.base.errors import UserError
from operators.storage.artifacts import Artifact, write_artifact
from pipelines.classification.labelled import split_groups
from pipelines.evaluation.labels import check_label
from pipelines.space.field import DIGEST_KEY, read_space
from pipelines.steps.checkpoint import CheckpointPlace, TrainingState, drop_checkpoint
from pipelines.steps.memory import check_memory
from pipelines.training.head import START_ROWS, HeadRecipe, HeadTask, Objective, plan_head
from pipelines.training.judged import JUDGED, judge_head
from pipelines.training.rows import TrainingRows, draw_training_rows, read_pairs

KIND = "head"
STOPPING = 0.2
"""Of the rows that are not tested, those by which training is stopped."""


class TrainHeadConfig(ClusterReadConfig, WorkersOptions):
    """What is trained, on which vectors, and for what. `docs/train-head.md` explains every field."""

    objective: Objective
    column: str | None = None
    """A column that a model fills; default: the only one."""
    dims: Annotated[tuple[int, ...], BeforeValidator(as_lengths)] = (256, 128, 64, 32)
    label: str | None = None
    """The column of labels: what `labels` learns, and what every objective is measured by."""
    pairs: str | None = None
    """A Parquet file of `id` and `group`, or of `id_a` and `id_b`."""
    captions: str | None = None
    """A column of vectors of the rows' texts, in the space of the images."""
    group: str | None = None
    """A column: rows of one value stay on one side of the split."""
    hidden: int = Field(default=0, ge=0)
    """Units of a hidden layer; 0 for none."""
    sample: int = Field(default=200_000, ge=20)
    """Rows that are held in memory, at most."""
    test: float = Field(default=0.2, gt=0, lt=0.9)
    """Share of the rows that have no part in the training, and that the report is of."""
    batch: int = Field(default=512, ge=8)
    steps: int = Field(default=2000, ge=1)
    """At most."""
    patience: int = Field(default=8, ge=1)
    """Evaluations, of 25 steps each, without a lower loss on the held-out rows before training ends."""
    learning_rate: float = Field(default=1e-4, gt=0)
    weight_decay: float = Field(default=0.01, ge=0)
    seed: int = Field(default=0, ge=0)

    @model_validator(mode="after")
    def _has_what_it_takes(self) -> "TrainHeadConfig":
        needed = {"labels": "label", "pairs": "pairs", "captions": "captions"}
        own = needed.get(self.objective)
        if own and getattr(self, own) is None:
            raise ValueError(f"--objective {self.objective} needs --{own}")
        for objective, name in needed.items():
            if name != "label" and objective != self.objective and getattr(self, name) is not None:
                raise ValueError(f"--{name} is for --objective {objective}; leave it out")
        if self.objective == "pairs" and self.label is not None:
            raise ValueError("--objective pairs is measured by its own groups; leave --label out")
        return self

    def recipe(self) -> HeadRecipe:
        return HeadRecipe(**{name: getattr(self, name) for name in HeadRecipe.__dataclass_fields__})


def run(config: TrainHeadConfig) -> TrainHeadReport:
    """Train the head, measure it and store it. Raises `UserError` for a table, column or labels that no head can be
    trained on as asked, and where the loss is no number; `OSError` where storage fails."""
    began = time.monotonic()
    table = config.stored
    dataset = table.latest()
    field = choose_single(config.table, dataset.schema, config.column)
    _check(config, dataset.schema, field)
    _check_memory(config, dataset.count_rows(), field.type, captions=config.captions is not None)
    with Progress() as progress:
        progress.phase(f"drawing rows of {config.table}")
        rows = _drawn(config, dataset, field.name)
        train, held, tested = _split(rows, config)
        plan = plan_head(rows, train, held, config.recipe())
        name = f"{table.artifacts}/training-{_digest(config, rows, field)}.safetensors"
        place = CheckpointPlace(name, config.storage_of_table)
        state, resumed_at = train_steps(
            partial(HeadTask, plan, rows), plan.steps(), place, config, config.cluster, progress
        )
        tensors = plan.head(state.best)
        progress.phase(f"measuring on {len(tested):,} rows")
        judged = list(judge_head(rows, train, tested, tensors, config.dims))
        ref = write_artifact(_artifact(config, field, rows, train, tensors, state), table.artifacts, table.storage)
        drop_checkpoint(place)
    return TrainHeadReport(
        table=config.table,
        version=dataset.version,
        column=field.name,
        objective=config.objective,
        dims=config.dims,
        input_dim=rows.full.dim,
        hidden=config.hidden,
        uri=ref.uri,
        sha256=ref.sha256,
        rows=len(rows),
        trained=len(train),
        held_out=len(plan.held),
        tested=len(tested),
        resumed_at=resumed_at,
        steps=state.step,
        best_step=state.best_step,
        history=state.history,
        figures=figures_of(judged),
        against_pca=against_pca(judged, rows.own[tested], config.objective),
        seconds=round(time.monotonic() - began, 3),
    )


def _check(config: TrainHeadConfig, schema: pa.Schema, field: pa.Field) -> None:
    where = f"table {config.table}"
    kind = field.type
    if not pa.types.is_fixed_size_list(kind) or not pa.types.is_floating(kind.value_type):
        raise UserError(f"{where}: {field.name} is {kind}; a head is trained on float16 or float32 vectors")
    if config.dims[0] > kind.list_size:
        raise UserError(f"{where}: --dims {config.dims[0]}, and a vector of {field.name} has {kind.list_size} numbers")
    if config.label is not None:
        check_label(config.table, schema, config.label)
    if config.group is not None:
        check_label(config.table, schema, config.group, "--group")
    if config.captions is not None:
        texts = schema.field(config.captions).type if config.captions in schema.names else None
        if texts is None or not pa.types.is_fixed_size_list(texts) or texts.list_size != kind.list_size:
            raise UserError(
                f"{where}: --captions {config.captions} is {texts or 'no column'}; needed are vectors of "
                f"{kind.list_size} numbers, of the texts, by the model of {field.name}"
            )


def _check_memory(config: TrainHeadConfig, there: int, kind: pa.DataType, *, captions: bool) -> None:
    """Raises `UserError` where the rows take more memory than is free on this machine, the driver's; of another
    cluster's workers nothing is known here."""
    rows, dim = min(config.sample, there), kind.list_size
    stored = rows * dim * kind.value_type.bit_width // 8 * (1 + captions)
    # Read, then filtered into one array: twice for a moment. Left in the table, a block at a time.
    held = 2 * stored if config.workers == 1 or config.cluster.address is None else 0
    # Copies in float64, to find the start and to judge.
    fitted = min(rows, START_ROWS) * dim * 8 * 3
    judged = 3 * 8 * min(rows, JUDGED) ** 2
    check_memory(
        held + max(fitted, judged),
        f"{rows:,} vectors of {dim:,} numbers, held by "
        f"{f'{config.workers} workers' if config.workers > 1 else 'one process'}, and what is computed of them,",
        "use fewer with --sample",
    )


def _drawn(config: TrainHeadConfig, dataset: Any, column: str) -> TrainingRows:
    pairs = None
    if config.pairs is not None:
        try:
            pairs = read_pairs(pq.read_table(config.pairs), config.pairs)
        except (OSError, pa.ArrowInvalid) as error:
            raise UserError(f"--pairs {config.pairs}: cannot be read as Parquet: {error}") from None
    return draw_training_rows(
        dataset,
        column,
        rows=config.sample,
        seed=config.seed,
        label=config.label,
        group=config.group,
        captions=config.captions,
        pairs=pairs,
        left_in=config.stored if config.workers > 1 else None,
    )


def _split(rows: TrainingRows, config: TrainHeadConfig) -> list[np.ndarray]:
    """Places of the rows to train on, to stop by, and to test on; groups are on one side."""
    rest = 1 - config.test
    parts = split_groups(rows.groups, (rest * (1 - STOPPING), rest * STOPPING), seed=config.seed)
    train, held, tested = parts
    if min(len(train), len(held), len(tested)) < 4:
        raise UserError(
            f"{len(rows):,} rows in {len(np.unique(rows.groups)):,} groups are too few to train on some, to stop by "
            f"some and to test on the rest ({len(train)}, {len(held)} and {len(tested)}): embed more, or group less"
        )
    if config.objective in ("labels", "pairs"):
        assert rows.labels is not None
        for side, what in ((train, "train on"), (held, "stop by")):
            counts = np.unique(rows.labels[side], return_counts=True)[1]
            if len(counts) < 2 or counts.max() < 2:
                raise UserError(
                    f"{len(side):,} rows to {what} have {len(counts):,} labels or groups; two of different ones and "
                    "two of the same one are needed at least: label more rows, or draw more with --sample"
                )
    return [train, held, np.sort(np.random.default_rng(config.seed).permutation(tested)[:JUDGED])]


def _digest(config: TrainHeadConfig, rows: TrainingRows, field: pa.Field) -> str:
    """What a checkpoint is of: the recipe, the space and the very rows."""
    data = hashlib.sha256(json.dumps([asdict(config.recipe()), config.test], sort_keys=True).encode())
    data.update(field.metadata[DIGEST_KEY])
    data.update(rows.digest.encode())
    return data.hexdigest()[:16]


def _artifact(
    config: TrainHeadConfig,
    field: pa.Field,
    rows: TrainingRows,
    train: np.ndarray,
    tensors: dict[str, np.ndarray],
    state: TrainingState,
) -> Artifact:
    """The same vectors and settings give the same file; so neither the table's name nor its version is in it."""
    settings = {
        **asdict(config.recipe()),
        "dims": list(config.dims),
        "label": config.label,
        "column": field.name,
        "space_digest": field.metadata[DIGEST_KEY].decode(),
        "rows": len(rows),
        "best_step": state.best_step,
    }
    space = read_space(field, config.table)[0]
    return Artifact(kind=KIND, tensors=tensors, space=space, rows=len(train), settings=settings)
