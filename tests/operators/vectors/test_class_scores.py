"""Linear classes against scikit-learn's own probabilities."""

import numpy as np

from operators.vectors.class_scores import LinearClasses, best_class


def test_probabilities_are_scikit_learns() -> None:
    from sklearn.linear_model import LogisticRegression

    random = np.random.default_rng(0)
    vectors = random.normal(size=(300, 6))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    labels = vectors[:, :3].argmax(1)
    probe = LogisticRegression().fit(vectors, labels)
    classes = LinearClasses(weights=probe.coef_, bias=probe.intercept_, scale=1.0)
    lengths = random.uniform(0.5, 20, (300, 1))
    ours = classes.probabilities((vectors * lengths).astype(np.float32))
    np.testing.assert_allclose(ours, probe.predict_proba(vectors), atol=1e-6)
    best, score, margin = best_class(ours)
    assert (best == probe.predict(vectors)).all()
    ordered = np.sort(ours, axis=1)
    np.testing.assert_allclose(score, ordered[:, -1], atol=1e-7)
    np.testing.assert_allclose(margin, ordered[:, -1] - ordered[:, -2], atol=1e-7)


def test_one_class_has_its_score_as_margin_and_zeros_have_none() -> None:
    classes = LinearClasses(weights=np.ones((1, 2), np.float32), bias=np.zeros(1, np.float32), scale=10.0)
    best, score, margin = best_class(classes.probabilities(np.array([[1, 0], [0, 0]], np.float32)))
    assert (best[0], score[0], margin[0]) == (0, 1, 1)
    assert np.isnan(score[1])
