"""`pixlake tune`: a model trained further on images of one's own, measured on others of them, and saved."""

import shutil
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from jobs.session.progress import Progress
from jobs.steps.run import train_steps
from jobs.training.images import gather_images
from jobs.tuning.config import TuneConfig
from jobs.tuning.measure import TuneMeasuring, compared
from jobs.tuning.network import checked_network, named_network
from jobs.tuning.report import TuneReport, as_text, figures_of, remembered_of
from jobs.tuning.saving import data_digest, recipe_digest, save_tuned
from operators.base.errors import UserError
from operators.storage.redact import redact_uri
from operators.storage.uris import from_anywhere, split_uri
from pipelines.evaluation.labels import check_label
from pipelines.judging.forgetting import Forgetting
from pipelines.manifests.manifest import SourceConfig
from pipelines.steps.checkpoint import CheckpointPlace, TrainingState, drop_checkpoint
from pipelines.training.rows import read_pairs
from pipelines.training_images.augment import Augmentation
from pipelines.training_images.gather import GatheredImages
from pipelines.training_images.network import NetworkImages
from pipelines.tuning.judged import MeasuredGain, gains, verdict
from pipelines.tuning.rows import rows_of, split_rows
from pipelines.tuning.task import TunedNetwork, Tuning

if TYPE_CHECKING:
    from operators.models.saved.tower import OwnTower

__all__ = ["TuneConfig", "TuneReport", "as_text", "run"]

REMEMBERED = 2000
"""Images of `--remember` that are looked at, at most."""


class _Tuned(NamedTuple):
    tuning: Tuning
    gathered: GatheredImages
    notes: list[str]
    state: TrainingState
    resumed_at: int | None
    trained_s: float
    measured: list[MeasuredGain]
    forgetting: Forgetting | None
    card: Any
    digest: str


def run(config: TuneConfig) -> TuneReport:
    """Train the model, measure it and save it. Raises `UserError` for a source, model or labels with which this cannot
    be done as asked, and where the loss is no number; `OSError` where storage or workers fail."""
    began = time.monotonic()
    source = config.source.model_copy(update={"uri": from_anywhere(config.source.uri)})
    config = config.model_copy(update={"source": source})
    folder = _work_folder(config)
    with Progress() as progress:
        tuned = _tune(config, folder, progress)
    if config.work is None:
        shutil.rmtree(folder, ignore_errors=True)
    return _report(config, tuned, time.monotonic() - began)


def _tune(config: TuneConfig, folder: Path, progress: Progress) -> _Tuned:
    network = named_network(config, progress)
    notes = checked_network(config, network, progress)
    gathered = gather_images(
        config,
        network.model.preprocess,
        folder,
        progress,
        sample=config.sample,
        seed=config.seed,
        whole=config.augment != "none",
    )
    tuning = _tuning(config, network, gathered)
    digest = data_digest(gathered, tuning.rows)
    remembered = _remembered(config, network, folder, progress)
    measuring = TuneMeasuring(tuning, remembered, config.templates, config.device, progress)
    progress.phase(f"measuring {network.model.spec.name} on {len(tuning.split.tested):,} images")
    before = measuring.base()
    place = CheckpointPlace(str(folder / f"checkpoint-{recipe_digest(config, tuning, digest)}.safetensors"))
    started = time.monotonic()
    state, resumed_at = train_steps(tuning, config.recipe(), place, config, config.cluster, progress)
    trained_s = time.monotonic() - started
    tower = _filled(tuning, state)
    progress.phase("measuring the tuned model")
    after = measuring.of(tower)
    measured = gains(before.values, after.values, tuning.rows.own[tuning.split.tested])
    forgetting = compared(before, after)
    progress.phase(f"writing {redact_uri(config.out)}")
    card = save_tuned(config, tuning, tower, measured, forgetting, digest)
    drop_checkpoint(place)
    return _Tuned(tuning, gathered, notes, state, resumed_at, trained_s, measured, forgetting, card, digest)


def _report(config: TuneConfig, tuned: _Tuned, seconds: float) -> TuneReport:
    tuning, gathered, state = tuned.tuning, tuned.gathered, tuned.state
    model, split = tuning.network.model, tuning.split
    return TuneReport(
        model=redact_uri(config.out),
        weights_sha256=tuned.card.weights_sha256,
        base=model.spec.name,
        base_sha256=model.weights_sha256,
        objective=config.objective,
        trainable=config.trainable,
        dim=tuned.card.dim,
        parameters=sum(each.numel() for name, each in state.moments.items() if name.startswith("mean.")),
        source=redact_uri(config.source.uri),
        drawn=gathered.drawn,
        failures=gathered.failures,
        failure_example=gathered.failure_example,
        without=gathered.images.rows - len(tuning.rows),
        trained=len(split.train),
        held_out=len(split.held),
        tested=len(split.tested),
        data_digest=tuned.digest,
        notes=[*tuned.notes, *_about_text(tuning)],
        resumed_at=tuned.resumed_at,
        steps=state.step,
        best_step=state.best_step,
        history=state.history,
        figures=figures_of(tuned.measured),
        remembered=remembered_of(tuned.forgetting),
        verdict=verdict(tuned.measured, config.objective),
        images_per_s=_rate(tuning, range(tuned.resumed_at or 0, state.step), tuned.trained_s),
        seconds=round(seconds, 3),
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
    return place.parent / f"{place.name}.work"


def _remembered(config: TuneConfig, network: TunedNetwork, folder: Path, progress: Progress) -> NetworkImages | None:
    """The images of `--remember`, as an embed job prepares them."""
    if config.remember is None:
        return None
    source = SourceConfig(uri=from_anywhere(config.remember))
    # What is named of the source's columns is not named of these.
    other = config.model_copy(update={"source": source})
    preprocess = network.model.preprocess
    found = gather_images(
        other,
        preprocess,
        folder / "remembered",
        progress,
        sample=REMEMBERED,
        seed=config.seed,
        whole=False,
    )
    return NetworkImages(images=found.images, augmentation=None, mean=preprocess.mean, std=preprocess.std)


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


def _filled(tuning: Tuning, state: TrainingState) -> "OwnTower":
    """The network with the tensors of the best look, adapters merged."""
    from operators.models.tuning.prepare import without_adapters

    tower, _ = tuning.network.build()
    tower.load_state_dict(state.best, strict=False)
    return without_adapters(tower).eval()


def _about_text(tuning: Tuning) -> list[str]:
    if not tuning.network.model.text or tuning.network.with_text:
        return []
    return [
        "its images left the space of the text tower, which learnt nothing: the new model takes no words. Tune it with "
        "--captions to keep both together"
    ]


def _rate(tuning: Tuning, steps: range, seconds: float) -> float | None:
    batches = tuning.batches()
    return round(sum(len(batches.at(step)) for step in steps) / seconds, 3) if steps and seconds > 0 else None
