#!/usr/bin/env bash
# safetensors 0.8.0: a PCA of scikit-learn 1.9.1 that is saved by safetensors.numpy comes back with its numbers scrambled.
#
# `components_` of PCA lies in memory column by column (the LAPACK solvers give it so). `safetensors.numpy.save` and `save_file`
# write what lies in memory and the array's shape, as if it lay row by row: every number is there, in another place. Of a slice
# with a step the file holds other numbers. Nothing is raised, at saving or at loading; safetensors.torch refuses the same
# array in words, and safetensors 0.7.0 wrote it right. Vectors that such a PCA makes find nothing. Public as issue 825 of
# safetensors/safetensors, open in August 2026.
#
# Pixlake puts arrays row by row before they are saved (tests/operators/storage/test_artifacts.py).
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/old"
python3 -m venv "$folder/new"
"$folder/old/bin/python" -m pip install --quiet --disable-pip-version-check safetensors==0.7.0 numpy==2.4.6 scikit-learn==1.9.1
"$folder/new/bin/python" -m pip install --quiet --disable-pip-version-check safetensors==0.8.0 numpy==2.4.6 scikit-learn==1.9.1
cat > "$folder/roundtrip.py" <<'P'
import numpy as np
import safetensors
import sklearn
from safetensors.numpy import load, save
from sklearn.decomposition import PCA

random = np.random.default_rng(0)
vectors = random.standard_normal((300, 40)).astype(np.float32)
pca = PCA(n_components=8, svd_solver="full").fit(vectors)
stepped = np.arange(10, dtype=np.float32)[::2]
back = load(save({"components": pca.components_, "stepped": stepped}))
right = (vectors - pca.mean_) @ pca.components_.T
made = (vectors - pca.mean_) @ back["components"].T


def nearest(reduced):
    distances = ((reduced[:, None] - reduced[None]) ** 2).sum(axis=2)
    np.fill_diagonal(distances, np.inf)
    return distances.argsort(axis=1)[:, :10]


kept = np.mean([len(set(a) & set(b)) / 10 for a, b in zip(nearest(right), nearest(made), strict=True)])
same = np.array_equal(back["components"], pca.components_), np.array_equal(back["stepped"], stepped)
print(f"safetensors {safetensors.__version__}, scikit-learn {sklearn.__version__}: components equal {same[0]},", end=" ")
print(f"slice equal {same[1]} ({back['stepped'].tolist()}), of ten neighbours {kept:.2f} stay")
raise SystemExit(0 if all(same) else 3)
P
code=0
"$folder/old/bin/python" "$folder/roundtrip.py" || { echo changed; exit 1; }
"$folder/new/bin/python" "$folder/roundtrip.py" || code=$?
[ "$code" = 3 ] || { echo changed; exit 1; }
