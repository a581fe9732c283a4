"""Class vectors from words."""

import numpy as np
import pytest

from pipelines.classification.zero_shot import check_templates, class_vectors


def letters(texts: list[str]) -> np.ndarray:
    """Unit vectors of how often each letter occurs."""
    counts = np.array([[text.count(chr(97 + each)) for each in range(26)] for text in texts], np.float32)
    units: np.ndarray = counts / np.linalg.norm(counts, axis=1, keepdims=True)
    return units


def test_each_class_is_the_direction_of_the_mean_of_its_texts() -> None:
    made = class_vectors(["cat", "hot dog"], ["a {}", "one large {}."], letters)
    expected = np.stack([letters([f"a {name}", f"one large {name}."]).mean(0) for name in ("cat", "hot dog")])
    np.testing.assert_allclose(made.weights, expected / np.linalg.norm(expected, axis=1, keepdims=True), atol=1e-6)
    assert made.weights.dtype == np.float32


@pytest.mark.parametrize("template", ["a photo", "{} and {}", "{0}"])
def test_a_template_has_one_place_for_the_name(template: str) -> None:
    with pytest.raises(ValueError, match=r"needs \{\} once"):
        check_templates(["a {}", template])
