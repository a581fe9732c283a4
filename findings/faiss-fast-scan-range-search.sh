#!/usr/bin/env bash
# faiss 1.15.1 on x86-64: range_search of a fast-scan index gives every vector where it should give none.
#
# "IVF…,PQ…x4fs", which faiss's guide suggests for large collections, and the newer "IVF…,RaBitQfs" answer `search` well. Their
# `range_search`, by which one looks for near duplicates, does not. With PQ and squared L2 a query that has nothing within a small
# radius gets all vectors of the lists it visits, with distances that say themselves how far beyond the radius they are. With
# RaBitQ nearly all vectors come for any radius, with distances that are not theirs (2.2 is given as 0.01). Nothing is raised or
# logged. The same codes without "fs" are right, and so are the fast-scan indexes where `search` is asked for all vectors. Seen of
# 20 queries and 4,000 vectors: with PQ at radius 0.05 80,000 pairs by range_search, none by search (the codes put a vector 0.2
# from itself); with RaBitQ at radius 0.5 79,421 pairs, 424 by search, and 429 in truth.
#
# Pixlake compares near duplicates by exact products (docs/duplicates.md); an export searched by faiss: docs/clients.md.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check faiss-cpu==1.15.1 numpy==2.4.6
"$folder/venv/bin/python" - <<'P' 2> "$folder/log" || { cat "$folder/log"; exit 1; }
import sys

import faiss
import numpy as np

random = np.random.default_rng(3)
vectors = random.normal(size=(200, 64))[random.integers(0, 200, 4000)] + 0.4 * random.normal(size=(4000, 64))
vectors = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
queries = vectors[:20].copy()
exact = ((queries[:, None].astype(float) - vectors[None]) ** 2).sum(axis=2)


def pairs(kind, radius):
    """Pairs within the radius by range_search, by the same index's search of all; largest true distance of the former."""
    index = faiss.index_factory(64, kind, faiss.METRIC_L2)
    index.train(vectors)
    index.add(vectors)
    index.nprobe = 8
    limits, given, found = index.range_search(queries, radius)
    distances, rows = index.search(queries, len(vectors))
    query_of = np.repeat(np.arange(len(queries)), np.diff(limits.astype(int)))
    worst = exact[query_of, found].max() if len(found) else 0.0
    stated = max(given, default=0.0)
    print(f"{kind}, radius {radius}: {len(found)} pairs by range_search, the farthest {worst:.2f} in truth and", end=" ")
    print(f"{stated:.2f} by its word; {(distances[rows >= 0] < radius).sum()} by search; {(exact < radius).sum()} in truth")
    return len(found), int((distances[rows >= 0] < radius).sum())


print("faiss", faiss.__version__)
product = pairs("IVF8,PQ16x4fs", 0.05)
rabitq = pairs("IVF8,RaBitQfs", 0.5)
same = all(ranged == searched for ranged, searched in (pairs("IVF8,PQ16x4", 0.05), pairs("IVF8,RaBitQ", 0.5)))
wide = pairs("IVF8,PQ16x4fs", 0.5)
still = product == (80_000, 0) and rabitq[0] > 50_000 and rabitq[1] < 1_000 and same and abs(wide[0] - wide[1]) < 20
sys.exit(0 if still else "changed")
P
