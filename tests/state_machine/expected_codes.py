"""What a derived column must hold, worked out from the stored vector and the recorded artifact with NumPy alone."""

import json
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from safetensors.numpy import load_file

_NUMPY = {pa.float16(): np.float16, pa.float32(): np.float32, pa.int8(): np.int8, pa.uint8(): np.uint8}
REDUCTION = b"pixlake.reduction"


def derived_columns(schema: pa.Schema) -> dict[str, dict[str, Any]]:
    """Column -> how it is made, as the table records it."""
    return {
        each.name: json.loads(each.metadata[REDUCTION])
        for each in schema
        if each.metadata and REDUCTION in each.metadata
    }


def numbers_of(stored: bytes | None, kind: pa.DataType) -> np.ndarray | None:
    """The stored vector as float32; None where there is none, or it is not finite."""
    if stored is None:
        return None
    numbers = np.frombuffer(stored, _NUMPY[kind.value_type]).astype(np.float32)
    return numbers if np.isfinite(numbers).all() else None


@lru_cache(maxsize=256)
def _tensors(path: str) -> Mapping[str, np.ndarray]:
    return load_file(path)


def expected_code(numbers: np.ndarray | None, how: Mapping[str, Any], folder: Path) -> np.ndarray | None:
    """None where nothing can be made of the vector."""
    if numbers is None or not numbers.any():
        return None
    if how["pca"]:
        tensors = _tensors(how["pca"]["artifact"]["uri"])
        numbers = (numbers.astype(np.float64) - tensors["mean"]) @ tensors["components"].T
    if how["truncate_dim"]:
        numbers = numbers[: how["truncate_dim"]]
    if how["pca"] or how["truncate_dim"]:
        if not numbers.any():
            return None
        numbers = numbers / np.linalg.norm(numbers) if how["renormalize"] else numbers
    if how["precision"] in ("float16", "float32"):
        return numbers.astype(how["precision"])
    tensors = _tensors(how["quantizer"]["uri"])
    if how["precision"] == "binary":
        return np.packbits(numbers > tensors["thresholds"])
    scale = tensors["scale"]
    steps = np.divide(numbers - tensors["offset"], scale, out=np.zeros_like(scale), where=scale > 0)
    return np.clip(np.rint(steps), -127, 127).astype(np.int8)


def _agrees(stored: np.ndarray, expected: np.ndarray | None) -> bool:
    if expected is None or stored.shape != expected.shape:
        return False
    if expected.dtype == np.int8:
        # A step may round either way.
        return bool(np.abs(stored.astype(int) - expected.astype(int)).max() <= 1)
    return bool(np.allclose(stored.astype(np.float32), expected.astype(np.float32), atol=2e-3))


def check_derived(state: Any, folder: Path) -> None:
    """Every derived value is null, or what the stored vector gives."""
    for name, how in derived_columns(state.schema).items():
        if how["base"] not in state.schema.names:
            continue
        base, kind = state.schema.field(how["base"]).type, state.schema.field(name).type
        for row in state.rows:
            if row[name] is None:
                continue
            stored, numbers = np.frombuffer(row[name], _NUMPY[kind.value_type]), numbers_of(row[how["base"]], base)
            if numbers is not None and not numbers.any():
                # Bits and steps say something of zeros too.
                continue
            expected = expected_code(numbers, how, folder)
            assert _agrees(stored, expected), f"{name} of {row['id']}: {stored} is stored, {expected} expected"


def unfilled(state: Any, name: str, folder: Path) -> list[str]:
    """Ids of rows that lack a value which their vector gives."""
    how = derived_columns(state.schema)[name]
    base = state.schema.field(how["base"]).type
    return [
        row["id"]
        for row in state.rows
        if row[name] is None and expected_code(numbers_of(row[how["base"]], base), how, folder) is not None
    ]
