"""What a tuned model is of, and the model saved with it."""

import hashlib
import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from jobs.tuning.config import TuneConfig
from operators.base.columns import ID, SHA256
from operators.storage.redact import redact_uri
from pipelines.judging.forgetting import Forgetting
from pipelines.judging.intervals import MeanInterval
from pipelines.training_images.gather import GatheredImages
from pipelines.tuning.judged import MEASURES, MeasuredGain
from pipelines.tuning.rows import TuneRows
from pipelines.tuning.task import Tuning

if TYPE_CHECKING:
    from operators.models.saved.tower import OwnTower


def data_digest(gathered: GatheredImages, rows: TuneRows) -> str:
    """sha256 of what is learnt from: which images, by the sha256 of their bytes, and what is said of them."""
    table = gathered.images.table([ID.name, SHA256.name]).take(pa.array(rows.positions))
    digest = hashlib.sha256()
    for column in (*table.columns, *([] if rows.captions is None else [rows.captions])):
        for value in column.to_pylist():
            digest.update(f"{value}\n".encode())
    for each in (rows.labels, rows.groups, rows.own):
        digest.update(b"" if each is None else np.ascontiguousarray(each).data)
    return digest.hexdigest()


def recipe_digest(config: TuneConfig, tuning: Tuning, data: str) -> str:
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


def save_tuned(
    config: TuneConfig,
    tuning: Tuning,
    tower: "OwnTower",
    measured: list[MeasuredGain],
    forgetting: Forgetting | None,
    digest: str,
) -> Any:
    """Write the model, and give its card. Raises `ModelError` where that fails."""
    from operators.models.saved.write import SavedAs, save_model

    def means(of: str) -> dict[str, float]:
        found: dict[str, MeanInterval] = {each.measure: getattr(each, of) for each in measured}
        # By the names that `pixlake tune` prints, since `pixlake models` shows them as they are.
        return {MEASURES[name]: round(each.mean, 6) for name, each in found.items()}

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
        after={**means("after"), **({} if forgetting is None else forgetting.as_metrics())},
    )
    return save_model(config.out, tower, about, config.storage)
