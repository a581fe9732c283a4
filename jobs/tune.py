"""`pixlake tune`: a model trained further on images of one's own, measured on others of them, and saved."""

import hashlib
import json
import shutil
import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from jobs.session.progress import Progress
from jobs.steps.run import train_steps
from jobs.training.images import gather_images
from jobs.tuning.config import TuneConfig
from jobs.tuning.measure import TuneMeasuring
from jobs.tuning.report import TuneReport, as_text, figures_of
from operators.base.columns import ID, SHA256
from operators.base.errors import UserError
from operators.models.load import describe
from operators.storage.redact import redact_uri
from operators.storage.uris import from_anywhere, split_uri
from pipelines.evaluation.labels import check_label
from pipelines.judging.intervals import MeanInterval
from pipelines.steps.checkpoint import CheckpointPlace, TrainingState, drop_checkpoint
from pipelines.training.rows import read_pairs
from pipelines.training_images.augment import Augmentation
from pipelines.training_images.gather import GatheredImages
from pipelines.training_images.network import NetworkImages
from pipelines.tuning.judged import MeasuredGain, gains, verdict
from pipelines.tuning.rows import TuneRows, rows_of, split_rows
from pipelines.tuning.task import TunedNetwork, Tuning

if TYPE_CHECKING:
    from operators.models.saved.tower import OwnTower

__all__ = ["TuneConfig", "TuneReport", "as_text", "run"]

FAMILIES = ("timm", "open_clip", "efficientnet-lite", "saved")
"""Of models whose networks are trained here."""


def run(config: TuneConfig) -> TuneReport:
    """Train the model, measure it and save it. Raises `UserError` for a source, model or labels with which this cannot
    be done as asked, and where the loss is no number; `OSError` where storage or workers fail."""
    began = time.monotonic()
    source = config.source.model_copy(update={"uri": from_anywhere(config.source.uri)})
    config = config.model_copy(update={"source": source})
    folder = _work_folder(config)
    with Progress() as progress:
        network = _network(config, progress)
        model, notes = network.model, network.build()[1]
        gathered = gather_images(
            config,
            model.preprocess,
            folder,
            progress,
            sample=config.sample,
            seed=config.seed,
            whole=config.augment != "none",
        )
        tuning = _tuning(config, network, gathered)
        digest = _data_digest(config, gathered, tuning.rows)
        measuring = TuneMeasuring(tuning, config.templates, config.device, progress)
        progress.phase(f"measuring {model.spec.name} on {len(tuning.split.tested):,} images")
        before = measuring.base()
        place = CheckpointPlace(str(folder / f"checkpoint-{_recipe_digest(config, tuning, digest)}.safetensors"))
        started = time.monotonic()
        state, resumed_at = train_steps(tuning, config.recipe(), place, config, config.cluster, progress)
        trained_s = time.monotonic() - started
        tower = _tuned(tuning, state)
        progress.phase("measuring the tuned model")
        measured = gains(before, measuring.of(tower), tuning.rows.own[tuning.split.tested])
        progress.phase(f"writing {redact_uri(config.out)}")
        card = _save(config, tuning, tower, measured, digest)
        drop_checkpoint(place)
        if config.work is None:
            shutil.rmtree(folder, ignore_errors=True)
    return TuneReport(
        model=redact_uri(config.out),
        weights_sha256=card.weights_sha256,
        base=model.spec.name,
        base_sha256=model.weights_sha256,
        objective=config.objective,
        trainable=config.trainable,
        dim=card.dim,
        parameters=sum(each.numel() for name, each in state.moments.items() if name.startswith("mean.")),
        source=redact_uri(config.source.uri),
        drawn=gathered.drawn,
        failures=gathered.failures,
        failure_example=gathered.failure_example,
        without=gathered.images.rows - len(tuning.rows),
        trained=len(tuning.split.train),
        held_out=len(tuning.split.held),
        tested=len(tuning.split.tested),
        data_digest=digest,
        notes=[*notes, *_about_text(tuning)],
        resumed_at=resumed_at,
        steps=state.step,
        best_step=state.best_step,
        history=state.history,
        figures=figures_of(measured),
        verdict=verdict(measured, config.objective),
        images_per_s=_rate(tuning, state.step - (resumed_at or 0), trained_s),
        seconds=round(time.monotonic() - began, 3),
    )


def _work_folder(config: TuneConfig) -> Path:
    """Raises `UserError` where the new model's place is taken, or no local folder is named for one in a bucket."""
    from operators.models.saved.publish import check_free

    check_free(config.out, config.storage)
    if config.work is not None:
        return Path(config.work).expanduser().absolute()
    scheme, _, path = split_uri(config.out)
    if scheme != "file":
        raise UserError(f"{redact_uri(config.out)} is no local folder: name one for the decoded images with --work")
    place = Path(path).expanduser().absolute()
    return place.parent / f".{place.name}.work"


def _network(config: TuneConfig, progress: Progress) -> TunedNetwork:
    [asked] = config.columns.values()
    spec = asked.spec()
    if spec.family not in FAMILIES:
        raise UserError(
            f"model {spec.name!r} has no weights that can be trained; use efficientnet-lite0, a model of timm or "
            "open_clip, or one of your own"
        )
    progress.phase(f"opening {spec.name}: libraries and weights")
    model = describe(spec, config.storage)
    if config.objective == "captions" and not model.text:
        raise UserError(f"model {spec.name!r} has no text tower, and --captions needs one; use --label or --pairs")
    return TunedNetwork(
        model=model,
        trainable=config.trained,
        with_text=config.objective == "captions",
        freeze_text=config.freeze_text,
        seed=config.seed,
        gradient_checkpointing=config.gradient_checkpointing,
        storage=config.storage,
    )


def _tuning(config: TuneConfig, network: TunedNetwork, gathered: GatheredImages) -> Tuning:
    table = gathered.images.table()
    label, captions, group = (config.kept(each) for each in (config.label, config.captions, config.group))
    for name, option in ((label, "--label"), (group, "--group"), (captions, "--captions")):
        if name is not None:
            check_label(redact_uri(config.source.uri), table.schema, name, option)
    rows = rows_of(table, label=label, captions=captions, pairs=_pairs(config), group=group)
    preprocess = network.model.preprocess
    changed = Augmentation(height=preprocess.height, width=preprocess.width, seed=config.seed)
    return Tuning(
        network=network,
        objective=config.objective,
        images=NetworkImages(
            images=gathered.images,
            augmentation=None if config.augment == "none" else changed,
            mean=preprocess.mean,
            std=preprocess.std,
        ),
        rows=rows,
        split=split_rows(rows, test=config.test, seed=config.seed),
        batch=config.batch,
        temperature=config.loss_temperature,
    )


def _pairs(config: TuneConfig) -> pa.Table | None:
    if config.pairs is None:
        return None
    try:
        return read_pairs(pq.read_table(config.pairs), config.pairs)
    except (OSError, pa.ArrowInvalid) as error:
        raise UserError(f"--pairs {config.pairs}: cannot be read as Parquet: {error}") from None


def _data_digest(config: TuneConfig, gathered: GatheredImages, rows: TuneRows) -> str:
    """sha256 of what is learnt from: which images, by the sha256 of their bytes, and what is said of them."""
    table = gathered.images.table([ID.name, SHA256.name]).take(pa.array(rows.positions))
    digest = hashlib.sha256()
    for column in (*table.columns, *([] if rows.captions is None else [rows.captions])):
        for value in column.to_pylist():
            digest.update(f"{value}\n".encode())
    for each in (rows.labels, rows.groups, rows.own):
        digest.update(b"" if each is None else np.ascontiguousarray(each).data)
    return digest.hexdigest()


def _recipe_digest(config: TuneConfig, tuning: Tuning, data: str) -> str:
    """What a checkpoint is of: the base, the recipe, the data and how they are split and changed."""
    about = [
        data,
        tuning.network.model.weights_sha256,
        tuning.network.model.model_dump(mode="json", include={"preprocess", "network"}),
        asdict(config.recipe()),
        [config.trainable, tuning.objective, config.freeze_text, tuning.batch, tuning.temperature],
        [config.test, config.augment],
    ]
    return hashlib.sha256(json.dumps(about, sort_keys=True, default=str).encode()).hexdigest()[:16]


def _tuned(tuning: Tuning, state: TrainingState) -> "OwnTower":
    """The network with the tensors of the best look, adapters merged."""
    from operators.models.tuning.prepare import without_adapters

    tower, _ = tuning.network.build()
    tower.load_state_dict(state.best, strict=False)
    return without_adapters(tower).eval()


def _save(config: TuneConfig, tuning: Tuning, tower: "OwnTower", measured: list[MeasuredGain], digest: str) -> Any:
    from operators.models.saved.write import SavedAs, save_model

    def means(of: str) -> dict[str, float]:
        found: dict[str, MeanInterval] = {each.measure: getattr(each, of) for each in measured}
        return {name: round(each.mean, 6) for name, each in found.items()}

    recipe = {"command": "tune", **asdict(config.recipe())}
    recipe |= {name: getattr(config, name) for name in ("trainable", "objective", "batch", "augment", "test")}
    recipe |= {"temperature": tuning.temperature, "freeze_text": config.freeze_text}
    split = tuning.split
    data = {"source": redact_uri(config.source.uri), "digest": digest, "images": len(tuning.rows)}
    data |= {"trained": len(split.train), "held_out": len(split.held), "tested": len(split.tested)}
    data |= {name: getattr(config, name) for name in ("label", "captions", "pairs", "group") if getattr(config, name)}
    about = SavedAs(
        base=tuning.network.model,
        text=("held" if config.freeze_text else "tuned") if tuning.network.with_text else "absent",
        recipe=recipe,
        data=data,
        before=means("before"),
        after=means("after"),
    )
    return save_model(config.out, tower, about, config.storage)


def _about_text(tuning: Tuning) -> list[str]:
    if not tuning.network.model.text or tuning.network.with_text:
        return []
    return [
        "its images left the space of the text tower, which learnt nothing: the new model takes no words. Tune it with "
        "--captions to keep both together"
    ]


def _rate(tuning: Tuning, steps: int, seconds: float) -> float | None:
    return round(steps * min(tuning.batch, len(tuning.split.train)) / seconds, 3) if steps > 0 and seconds > 0 else None
