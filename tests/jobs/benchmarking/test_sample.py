"""What decoding an image takes of a core, however many cores there are, and its start left out."""

import time
from pathlib import Path

import numpy as np
from PIL import Image

from jobs.benchmarking.sample import Sampling
from made.manifests import manifest_of
from operators.decode import DecodeConfig
from operators.fetch import FetchConfig
from operators.pixels.preprocess import Preprocess
from operators.storage.stores import NO_OPTIONS
from pipelines.manifests.manifest import SourceConfig
from pipelines.sources.drawn import work_at
from pipelines.sources.source import Source

IMAGES = 130


def test_an_image_takes_as_long_to_decode_on_many_cores(tmp_path: Path) -> None:
    folder = tmp_path / "images"
    folder.mkdir()
    image = Image.fromarray(np.random.default_rng(0).integers(0, 255, (400, 600, 3), np.uint8))
    for number in range(IMAGES):
        image.save(folder / f"{number:03}.jpg")
    manifest = manifest_of(SourceConfig(uri=str(folder)), NO_OPTIONS, str(tmp_path / "work"))
    taken = []
    for cores in (1, 8):
        (tmp_path / str(cores)).mkdir()
        sampling = Sampling(
            Source(columns=manifest.columns),
            FetchConfig(allowed_roots=manifest.allowed_roots),
            DecodeConfig(targets={"pixels": Preprocess.square_pixels(64, "squash")}, isolate=False),
            cores=cores,
            folder=tmp_path / str(cores),
            counted=lambda words, share: None,
        )
        started = time.process_time()
        drawn = sampling.draw([], list(work_at(manifest.shards, np.arange(IMAGES))))
        used = time.process_time() - started
        assert drawn.rows.num_rows == IMAGES
        # What this process used for all of them, reading and spilling too, is more.
        assert 0 < drawn.decode_s * IMAGES < 1.3 * used
        taken.append(drawn.decode_s)
    assert taken[1] < 3 * taken[0]
