"""Images to train on: fetched and decoded once, as by an embed job, and stored on local disk."""

import hashlib
import json
import math
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from operators.base.columns import ERROR, ERROR_CLASS, ERROR_FIELDS, REQUESTS, SECONDS_PREFIX, URI
from operators.base.errors import UserError, row_line
from operators.base.operator import OperatorConfig
from operators.base.rows import good_rows
from operators.decode import DecodeConfig, DecodeOptions, decode_space
from operators.pixels.preprocess import Preprocess
from operators.storage.redact import redact
from pipelines.manifests.manifest import Manifest
from pipelines.run.worker import working_stage
from pipelines.sources.drawn import work_at
from pipelines.sources.source import Source
from pipelines.training_images.stored import SEEN, WHOLE, ImageStore, StoredImages, find_stored

BLOCK_ROWS = 64
WHOLE_SHARE = 1.25
"""Side of the stored whole image, of the model's longer side: a crop of 64 % of its area has the model's own pixels."""


@dataclass(frozen=True, kw_only=True)
class GatheredImages:
    """The images that could be decoded, and what became of the others."""

    images: StoredImages
    drawn: int
    failures: dict[str, int]
    """Class of failure -> images that gave no pixels."""
    failure_example: str
    reused: bool
    """Whether an earlier start had stored them."""


@dataclass(frozen=True, kw_only=True)
class ImageGathering:
    """How images are stored: through which operators, and at which sizes."""

    source: Source
    fetch: OperatorConfig
    decode: DecodeOptions
    preprocess: Preprocess
    """The model's own."""
    whole: bool
    """Whether the whole image is stored too, for crops, beside what the model sees."""
    cores: int

    @property
    def whole_side(self) -> int:
        return math.ceil(WHOLE_SHARE * max(self.preprocess.height, self.preprocess.width)) if self.whole else 0

    def key(self, manifest: Manifest, positions: np.ndarray) -> str:
        """What decides which pixels are stored: the manifest, the rows of it, the columns and the decoding."""
        about = {
            "manifest": manifest.digest,
            "columns": [str(each) for each in self.source.columns.kept],
            "decode": [decode_space(self.decode, target) for target in self._targets().values()],
            "max_pixels": self.decode.max_pixels,
        }
        digest = hashlib.sha256(json.dumps(about, sort_keys=True).encode())
        digest.update(np.sort(positions).astype(np.int64).tobytes())
        return digest.hexdigest()

    def gather(
        self, manifest: Manifest, positions: np.ndarray, work: Path, counted: Callable[[str, float | None], None]
    ) -> GatheredImages:
        """Store the rows at these positions of the manifest, in its order, or find them stored there. Bad images are
        counted by class. Raises `UserError` where they do not fit on the disk, or none can be decoded."""
        key = self.key(manifest, positions)
        found = find_stored(work, key)
        if found is not None:
            images, about = found
            return GatheredImages(images=images, reused=True, **about)
        store = ImageStore(
            work,
            key=key,
            whole_side=self.whole_side,
            height=self.preprocess.height,
            width=self.preprocess.width,
        )
        store.start(len(positions))
        failures, example = self._store(store, manifest, positions, counted)
        about = {"drawn": len(positions), "failures": dict(failures.most_common()), "failure_example": example}
        if failures.total() == len(positions):
            raise UserError(f"{manifest.uri}: none of {len(positions):,} images could be decoded; the first: {example}")
        return GatheredImages(images=store.finish(about), reused=False, **about)

    def _targets(self) -> dict[str, Preprocess]:
        whole = {WHOLE: Preprocess.square_pixels(self.whole_side, "squash")} if self.whole else {}
        return {SEEN: self.preprocess, **whole}

    def _store(
        self,
        store: ImageStore,
        manifest: Manifest,
        positions: np.ndarray,
        counted: Callable[[str, float | None], None],
    ) -> tuple[Counter[str], str]:
        """(class of failure -> images, the first of them)."""
        decode = DecodeConfig(targets=self._targets(), **self.decode.model_dump())
        failures: Counter[str] = Counter()
        example, seen = "", 0
        with working_stage((self.fetch, decode), self.cores) as stage:
            for work in work_at(manifest.shards, positions):
                for block in self.source.read(work, BLOCK_ROWS):
                    done = stage(block)
                    seen += done.num_rows
                    good = good_rows(done)
                    bad = done.filter(pc.invert(good))
                    failures.update(bad[ERROR_CLASS.name].to_pylist())
                    example = example or _example(bad)
                    if bad.num_rows < done.num_rows:
                        store.add(_plain(done.filter(good)))
                    counted(
                        f"fetching and decoding: {seen:,} of {len(positions):,} images", seen / max(len(positions), 1)
                    )
        return failures, example


def _plain(good: pa.Table) -> pa.Table:
    """Without what is of the run alone."""
    gone = {REQUESTS.name, *(field.name for field in ERROR_FIELDS)}
    return good.select([n for n in good.column_names if n not in gone and not n.startswith(SECONDS_PREFIX)])


def _example(bad: pa.Table) -> str:
    return row_line(redact(f"{bad[URI.name][0].as_py()}: {bad[ERROR.name][0].as_py()}")) if bad.num_rows else ""


def told(failures: dict[str, int], example: str) -> str:
    """`skipped 3 without pixels: corrupt 2, timeout 1; the first: …`."""
    classes = [f"{name} {count:,}" for name, count in failures.items()]
    return f"skipped {sum(failures.values()):,} without pixels: {', '.join(classes)}; the first: {example}"
