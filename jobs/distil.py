"""`pixlake distil`: a small network learns the vectors that a large one has left in a table."""

import hashlib
import json
import shutil
import time
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa

from jobs.distilling.config import DistilConfig
from jobs.distilling.lesson import TaughtImages, gather_taught, recipe_of
from jobs.distilling.measure import StudentMeasured, measure, teacher_network
from jobs.distilling.report import DistilReport, TaughtOn, as_text
from jobs.labelling.fill import choose_single
from jobs.session.progress import Progress
from jobs.steps.run import train_steps
from operators.base.errors import UserError
from operators.models.load import describe
from operators.models.spec import ModelDescription
from operators.storage.redact import redact_uri
from operators.storage.uris import split_uri
from pipelines.distillation.losses import Lesson
from pipelines.distillation.student import StudentMaker, check_student_fits
from pipelines.distillation.task import StudentRows, StudentSteps, StudentTask
from pipelines.space.field import DIGEST_KEY, read_space
from pipelines.steps.checkpoint import CheckpointPlace, TrainingState, drop_checkpoint
from pipelines.steps.recipe import StepRecipe
from pipelines.steps.workers import device_for
from pipelines.training_images.augment import Augmentation
from pipelines.training_images.network import NetworkImages

__all__ = ["DistilConfig", "DistilReport", "as_text", "run"]

WARMUP = 0.05
"""Of the steps, in which the learning rate rises."""
CLIP = 5.0
TRAINABLE = ("timm", "open_clip", "efficientnet-lite", "saved")


class _Trained(NamedTuple):
    state: TrainingState
    resumed_at: int | None
    digest: str
    place: CheckpointPlace


def run(config: DistilConfig) -> DistilReport:
    """Train the student, measure it and save it. Raises `UserError` for a table, source or network that no student can
    be made of as asked, and where the loss is no number; `OSError` where storage fails."""
    began = time.monotonic()
    dataset = config.stored.latest()
    field = choose_single(config.table, dataset.schema, config.column)
    _check(config, field)
    folder = _work_folder(config)
    with Progress() as progress:
        student = _resolved(config, progress)
        taught = gather_taught(config, dataset, field.name, student, folder, progress)
        maker = StudentMaker(student, _outputs(config, field), config.seed, config.storage)
        _check_memory(config, taught, maker, progress)
        trained = _trained(config, taught, maker, folder, progress)
        progress.phase(f"measuring on {len(taught.tested):,} images")
        tower = maker.filled(trained.state.best)
        measured = measure(config, taught, maker, tower)
        speeds = teacher_network(config, field, tower, student, progress)
        progress.phase(f"saving {config.out}")
        card = _save(config, field, taught, tower, student, measured, trained)
        drop_checkpoint(trained.place)
    if config.work is None:
        shutil.rmtree(folder, ignore_errors=True)
    return DistilReport(
        model=config.out,
        weights_sha256=card.weights_sha256,
        space=config.space,
        table=config.table,
        version=dataset.version,
        column=field.name,
        images=_taught_on(taught),
        dims=measured.dims,
        resumed_at=trained.resumed_at,
        steps=trained.state.step,
        best_step=trained.state.best_step,
        history=trained.state.history,
        figures=measured.figures,
        student=speeds.student,
        teacher=speeds.teacher,
        teacher_not_run=speeds.why_not,
        seconds=round(time.monotonic() - began, 3),
    )


def _check(config: DistilConfig, field: pa.Field) -> None:
    where, kind = f"table {config.table}", field.type
    if not pa.types.is_fixed_size_list(kind) or not pa.types.is_floating(kind.value_type):
        raise UserError(f"{where}: {field.name} is {kind}; a student learns float16 or float32 vectors")
    if config.dims is not None and config.dims[0] > kind.list_size:
        raise UserError(f"{where}: --dims {config.dims[0]}, and a vector of {field.name} has {kind.list_size} numbers")


def _outputs(config: DistilConfig, field: pa.Field) -> int:
    return config.dims[0] if config.dims is not None else int(field.type.list_size)


def _work_folder(config: DistilConfig) -> Path:
    """Where decoded images and the checkpoint lie. Raises `UserError` where the model's place is taken, unless this
    job was here before."""
    from operators.models.saved.publish import check_free

    if config.work is not None:
        folder = Path(config.work)
    else:
        scheme, _, path = split_uri(config.out)
        folder = Path(f"{path.rstrip('/')}.work" if scheme == "file" else f"./{Path(config.out).name}.work")
    if not folder.is_dir():
        check_free(config.out, config.storage)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"{folder}: cannot be made: {error.strerror}; name another folder with --work") from None
    return folder


def _resolved(config: DistilConfig, progress: Progress) -> ModelDescription:
    spec = config.student
    progress.phase(f"opening {spec.name}")
    if spec.family not in TRAINABLE:
        raise UserError(f"--student {spec.name}: is no network that can be taught; name one of timm or open_clip")
    # Here, and not in a process of its own: torch is needed here all the same.
    return describe(spec, config.storage)


def _check_memory(config: DistilConfig, taught: TaughtImages, maker: StudentMaker, progress: Progress) -> None:
    """Raises `UserError` where the training does not fit; of another cluster's machines nothing is known here."""
    if config.cluster.address is not None:
        return
    progress.phase("measuring what a step takes")
    check_student_fits(
        maker,
        device_for(config.device),
        looks=min(config.batch, len(taught.train)) * config.crops,
        steps=config.steps,
        workers=config.workers,
        lower="Lower --batch or --crops, or teach a smaller student or smaller images (model.preprocess.image_size)",
    )


def _trained(
    config: DistilConfig, taught: TaughtImages, maker: StudentMaker, folder: Path, progress: Progress
) -> _Trained:
    lesson = Lesson(
        dims=config.dims or (maker.outputs,),
        cosine=config.cosine,
        relational=config.relational,
        hard=config.hard_examples,
    )
    preprocess = maker.description.preprocess
    task = partial(
        StudentTask,
        maker,
        NetworkImages(
            images=taught.gathered.images,
            augmentation=Augmentation(
                height=preprocess.height,
                width=preprocess.width,
                seed=config.seed,
                scale=(config.least_area, 1.0),
            ),
            mean=preprocess.mean,
            std=preprocess.std,
        ),
        StudentRows(
            targets=str(taught.targets.absolute()),
            at=taught.teacher.at,
            train=taught.train,
            held=taught.held,
            ids=taught.ids,
        ),
        StudentSteps(
            lesson=lesson,
            batch=config.batch,
            crops=config.crops,
            micro_batch=config.micro_batch,
            seed=config.seed,
        ),
    )
    recipe = StepRecipe(
        steps=config.steps,
        learning_rate=config.learning_rate,
        weight_decay=config.weight_decay,
        seed=config.seed,
        schedule="cosine",
        warmup=round(config.steps * WARMUP),
        clip=CLIP,
        decays_vectors=False,
        look_every=config.look_every,
        patience=config.patience,
    )
    digest = _digest(config, taught, maker)
    place = CheckpointPlace(str(folder.absolute() / f"training-{digest[:16]}.safetensors"))
    state, resumed_at = train_steps(task, recipe, place, config, config.cluster, progress)
    return _Trained(state, resumed_at, digest, place)


def _digest(config: DistilConfig, taught: TaughtImages, maker: StudentMaker) -> str:
    """What a checkpoint is of: the recipe, the network that it began with, the very images and vectors."""
    about = [recipe_of(config), maker.outputs, maker.description.weights_sha256, taught.digest()]
    preprocess = maker.description.preprocess.model_dump(mode="json")
    return hashlib.sha256(json.dumps([*about, preprocess], sort_keys=True).encode()).hexdigest()


def _save(
    config: DistilConfig,
    field: pa.Field,
    taught: TaughtImages,
    tower: Any,
    student: ModelDescription,
    measured: StudentMeasured,
    trained: _Trained,
) -> Any:
    from operators.models.saved.card import TeacherSpace
    from operators.models.saved.write import SavedAs, save_model

    teacher, across = read_space(field, config.table)[1], measured.student.across
    digest = field.metadata[DIGEST_KEY].decode()
    return save_model(
        config.out,
        tower,
        SavedAs(
            base=student,
            dims=config.dims or (),
            teacher=None
            if across is None
            else TeacherSpace(
                model=teacher.spec.name,
                table=redact_uri(config.table),
                column=field.name,
                space_digest=digest,
                recall=across,
                queries=len(taught.tested),
            ),
            recipe={"command": "distil", **recipe_of(config)},
            data={
                "source": redact_uri(config.source.uri),
                "teacher": teacher.spec.name,
                "teacher_column": field.name,
                "teacher_space": digest,
                "images": len(taught.train) + len(taught.held) + len(taught.tested),
                "digest": trained.digest,
                "best_step": trained.state.best_step,
            },
            before=measured.before,
            after=measured.after,
        ),
        config.storage,
    )


def _taught_on(taught: TaughtImages) -> TaughtOn:
    return TaughtOn(
        drawn=taught.gathered.drawn,
        failures=taught.gathered.failures,
        without_vector=taught.without_vector,
        changed=taught.changed,
        joined_by=taught.teacher.by,
        trained=len(taught.train),
        held_out=len(taught.held),
        tested=len(taught.tested),
    )
