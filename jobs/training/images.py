"""The images of a source that a model is trained on: opened as by an embed job, and stored decoded."""

from pathlib import Path

from jobs.config.embed import EmbedConfig
from jobs.session.progress import Progress
from operators.base.counted import counted
from operators.base.errors import UserError
from operators.fetch import FetchConfig
from operators.pixels.preprocess import Preprocess
from operators.storage.redact import redact_uri
from pipelines.manifests.manifest import Manifest
from pipelines.manifests.open import open_manifest, open_source
from pipelines.manifests.vectors.folder import VectorFolder
from pipelines.sources.drawn import draw_positions
from pipelines.sources.image_bytes import source_of
from pipelines.training_images.gather import GatheredImages, ImageGathering, told


def open_images(config: EmbedConfig, what: str, folder: str, progress: Progress) -> Manifest:
    """The job's source with its positions fixed; `what` needs images. Raises `UserError` for ready vectors."""
    opened = open_source(config.source, config.storage)
    if isinstance(opened, VectorFolder):
        raise UserError(f"{redact_uri(config.source.uri)}: holds ready vectors, and {what}; name their source")
    manifest = open_manifest(
        opened,
        config.source,
        f"{folder}/manifest",
        lambda rows: progress.counted(f"reading the source: {counted(rows, 'row')}"),
        config.fetch.allowed_roots,
    )
    for notice in manifest.notices:
        progress.note(notice)
    return manifest


def gather_images(
    config: EmbedConfig,
    preprocess: Preprocess,
    folder: Path,
    progress: Progress,
    *,
    sample: int,
    seed: int,
    whole: bool,
) -> GatheredImages:
    """Up to `sample` images of the job's source, drawn by position, stored decoded in the folder, or found there from
    an earlier start. Raises `UserError` where the source cannot be read, no image can be decoded or the disk has no
    room."""
    progress.phase("opening the source")
    manifest = open_images(config, "a model is trained on images", str(folder), progress)
    limit = config.source.limit
    rows = manifest.num_rows if limit is None else min(limit, manifest.num_rows)
    roots = (*manifest.allowed_roots, *config.fetch.allowed_roots)
    fetch = config.fetch.model_copy(update={"storage": config.storage, "allowed_roots": roots})
    gathering = ImageGathering(
        source=source_of(manifest.columns, config.storage),
        fetch=FetchConfig(**dict(fetch)),
        decode=config.decode,
        preprocess=preprocess,
        whole=whole,
        cores=config.cluster.cores_here,
    )
    found = gathering.gather(manifest, draw_positions(rows, sample, seed), folder, progress.counted)
    if found.reused:
        progress.note(f"{found.images.rows:,} decoded images are there from an earlier start: {found.images.folder}")
    if found.failures:
        progress.note(told(found.failures, found.failure_example))
    return found
