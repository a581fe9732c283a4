"""Rows in memory to train a head on, with labels and texts."""

import numpy as np
import pyarrow as pa

from pipelines.training.head import HeadPlan, HeadRecipe, Objective, plan_head
from pipelines.training.rows import TrainingRows
from pipelines.training.vectors import HeldVectors

ROWS, DIM = 90, 12


def small_rows() -> TrainingRows:
    random = np.random.default_rng(9)
    labels = random.integers(0, 4, ROWS)
    vectors = (random.normal(size=(ROWS, DIM)) + 2 * np.eye(DIM)[labels]).astype(np.float32)
    texts = (np.eye(DIM)[labels] + 0.3 * random.normal(size=(ROWS, DIM))).astype(np.float32)
    return TrainingRows(
        full=HeldVectors(vectors),
        labels=labels,
        captions=HeldVectors(texts),
        groups=np.arange(ROWS) // 2,
        own=np.arange(ROWS),
        ids=pa.array([f"row-{row}" for row in range(ROWS)]),
        whole=ROWS,
        digest="",
    )


def small_plan(rows: TrainingRows, objective: Objective) -> HeadPlan:
    recipe = HeadRecipe(
        objective=objective,
        dims=(6, 3),
        hidden=4,
        batch=32,
        steps=50,
        patience=8,
        learning_rate=0.003,
        weight_decay=0.01,
        seed=2,
    )
    return plan_head(rows, np.arange(60), np.arange(60, ROWS), recipe)
