"""What a model with a text tower makes of captions and class names."""

from collections.abc import Sequence

import numpy as np

from jobs.benchmarking.config import BenchmarkConfig
from jobs.benchmarking.measure import SharedImages
from jobs.benchmarking.results import Measured95
from operators.models.spec import ModelDescription
from operators.models.warm import end_warm_process
from pipelines.judging.words import class_vectors, retrieval, zero_shot_right
from pipelines.search.query import embed_texts


def by_words(
    model: ModelDescription,
    unit: np.ndarray,
    shared: SharedImages,
    config: BenchmarkConfig,
    captions: Sequence[str | None] | None,
    classes: Sequence[str],
) -> tuple[dict[str, object], np.ndarray | None]:
    """(fields of the model's result, (N,) text-to-image R@1 where there are captions). `captions` are of the images in
    `unit`, `classes` the labels by their numbers."""
    fields: dict[str, object] = {}
    try:
        if classes and shared.labels is not None:
            fields["zero_shot"] = _zero_shot(model, unit, shared, config, classes)
        if captions is None:
            return fields, None
        there = np.array([at for at, caption in enumerate(captions) if caption], np.int64)
        if not len(there):
            return fields, None
        different, of_image = np.unique([captions[at] for at in there], return_inverse=True)
        texts = embed_texts([str(text) for text in different], model, config.storage, config.api)
        found = retrieval(unit[there], texts, of_image)
    finally:
        end_warm_process()
    for name, of_k in (("text_to_image", found.text_to_image), ("image_to_text", found.image_to_text)):
        fields[name] = {k: shared.known_mean(values, there) for k, values in of_k.items()}
    quality = np.full(len(unit), np.nan)
    quality[there] = found.text_to_image[1]
    return fields, quality


def _zero_shot(
    model: ModelDescription, unit: np.ndarray, shared: SharedImages, config: BenchmarkConfig, classes: Sequence[str]
) -> Measured95 | None:
    assert shared.labels is not None
    prompts = [template.replace("{}", name) for name in classes for template in config.templates]
    vectors = embed_texts(prompts, model, config.storage, config.api)
    of_class = class_vectors(vectors.reshape(len(classes), len(config.templates), -1))
    there = np.flatnonzero(shared.labels >= 0)
    return shared.mean(zero_shot_right(unit[there], of_class, shared.labels[there]), there)
