#!/usr/bin/env bash
# scikit-learn 1.9.1: normalize() of float16 vectors makes rows of zeros of long ones, and leaves short ones as they are.
#
# `normalize` and `Normalizer` take float16 and give float16. The sum of squares is kept in float16 too, which ends at 65,504: a row
# whose norm is over 256 has an infinite one and becomes all zeros, although each of its numbers is small (768 numbers of 10 have 277)
# and its unit vector is an ordinary one. A row whose norm is under 0.0098, ten times float16's epsilon, is taken for one of zeros and
# left as it is. Nothing is raised or warned of, and cosines, neighbours and clusters are then of zero vectors. Embeddings are kept as
# float16 for their size. Seen: lengths of 0 at norms of 260 and 1,000, 0.003 at a norm of 0.003. The same rows as float32 are right,
# and so is scikit-learn's own cosine_similarity of these.
#
# Pixlake takes norms in float64, of float32 vectors: operators/normalize.py.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check scikit-learn==1.9.1 numpy==2.4.6
"$folder/venv/bin/python" -W error - <<'P'
import sys

import numpy as np
import sklearn
from sklearn.metrics.pairwise import cosine_similarity
from sklearn.preprocessing import Normalizer, normalize

random = np.random.default_rng(0)
directions = random.normal(size=(200, 768))
directions /= np.linalg.norm(directions, axis=1, keepdims=True)


def lengths(rows):
    return np.linalg.norm(rows.astype(np.float64), axis=1)


print("scikit-learn", sklearn.__version__, "numpy", np.__version__)
seen = {}
for norm in (0.0002, 0.003, 1, 250, 260, 1000):
    rows = (directions * norm).astype(np.float16)
    assert np.isfinite(rows).all() and rows.any(axis=1).all()
    unit = normalize(rows)
    assert unit.dtype == np.float16 and (unit == Normalizer().fit_transform(rows)).all()
    right = lengths(normalize(rows.astype(np.float32)))
    cosines = np.diag(cosine_similarity(rows))
    seen[norm] = lengths(unit)
    print(
        f"norm {norm}, largest number {np.abs(rows).max():.5f}: lengths {seen[norm].min():.4f} to {seen[norm].max():.4f};"
        f" as float32 {right.min():.4f} to {right.max():.4f}; cosine to itself {cosines.min():.4f}"
    )
    assert np.abs(right - 1).max() < 1e-3 and np.abs(cosines - 1).max() < 1e-6
so = (
    all((seen[norm] == 0).all() for norm in (260, 1000))
    and all(np.abs(seen[norm] - 1).max() < 0.002 for norm in (1, 250))
    and all((np.abs(seen[norm] / norm - 1) < 0.02).all() for norm in (0.0002, 0.003))
)
sys.exit(0 if so else "changed")
P
