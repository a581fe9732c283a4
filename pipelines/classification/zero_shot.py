"""Classes by their names: class vectors from words, for models with a text tower.

Radford et al. 2021, "Learning Transferable Visual Models From Natural Language Supervision", 3.1.4: each name is put
into several templates, the unit vectors of the texts are averaged, and the mean is brought to unit length.
"""

from collections.abc import Callable, Sequence

import numpy as np

from operators.normalize import l2_normalize
from operators.vectors.class_scores import LinearClasses

TEMPLATES = (
    "a photo of a {}.",
    "a photo of the {}.",
    "a close-up photo of a {}.",
    "a photo of one small {}.",
    "a photo of one large {}.",
    "a picture of a {}.",
)
TEMPERATURE = 0.01
"""1 over the largest logit scale that CLIP is trained with (100), for tables without labels to calibrate by."""


def check_templates(templates: Sequence[str]) -> None:
    """Raises `ValueError` unless the name has a place in each."""
    for each in templates:
        if each.count("{}") != 1:
            raise ValueError(f"--template {each!r} needs {{}} once, where the name goes: 'a photo of a {{}}.'")


def class_vectors(
    names: Sequence[str], templates: Sequence[str], embed: Callable[[list[str]], np.ndarray]
) -> LinearClasses:
    """The classes, of unit length; `embed` maps T texts to (T, D) float32 of unit length."""
    texts = [template.replace("{}", name) for name in names for template in templates]
    vectors = embed(texts).reshape(len(names), len(templates), -1)
    weights = l2_normalize(vectors.mean(1).astype(np.float32))
    return LinearClasses(weights=weights, bias=np.zeros(len(names), np.float32), scale=1.0)
