"""The manifests that a table is registered to have, opened again without writing anything."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from operators.base.columns import ID, PACKED_IN, URI
from operators.base.errors import UserError
from operators.storage.redact import reason_of, redact_uri
from operators.storage.stores import StorageOptions, filesystem
from operators.storage.uris import split_uri
from pipelines.ledger.entries import ManifestEntry
from pipelines.manifests.file_kinds import is_image_name, is_tar_name, manifest_kind
from pipelines.manifests.files import locate
from pipelines.manifests.manifest import Columns, Manifest, SourceConfig, SourceError
from pipelines.manifests.normalized import Normalized, find_normalized
from pipelines.manifests.open import look_into, open_manifest, open_source, roots_of
from pipelines.manifests.parts import ERROR_FIELD
from pipelines.manifests.uris import parent_folder
from pipelines.manifests.vectors.folder import VectorFolder
from pipelines.sources.content_digest import content_digest


@dataclass(frozen=True, kw_only=True)
class OpenedManifest:
    """A registered manifest, and what of it could be opened."""

    entry: ManifestEntry
    manifest: Manifest | None = None
    ready_vectors: bool = False
    """Whether its rows hold vectors in place of images."""
    moved: bool = False
    """Whether it was opened in another place than it was embedded from: its positions hold, its relative URIs may
    not."""
    why_not: str | None = None
    """Why it was not opened; None for one that was, and for one that need not be."""

    def bounds(self) -> Iterator[tuple[int, int]]:
        """(shard, rows that it has at most)."""
        if self.manifest is None:
            for number in range(self.entry.num_shards):
                yield self.entry.first_shard + number, self.entry.rows
        else:
            for shard in self.manifest.shards:
                yield self.entry.first_shard + shard.number, shard.num_rows

    def covered(self) -> Iterator[tuple[int, int]]:
        """(shard, how many of its first rows the latest run was to cover), of an opened manifest."""
        assert self.manifest is not None
        for shard in self.manifest.shards:
            rows = min(shard.num_rows, self.entry.covered - shard.first_row)
            if rows > 0:
                yield self.entry.first_shard + shard.number, rows

    def owns(self, keys: np.ndarray) -> np.ndarray:
        """(N,) bool: which of the keys (`shard << 32 | row`) are of its shards."""
        within = (keys >> 32) - self.entry.first_shard
        found: np.ndarray = (within >= 0) & (within < self.entry.num_shards)
        return found


def open_registered(
    entry: ManifestEntry,
    source: SourceConfig | None,
    work_uri: str,
    storage: StorageOptions,
    moved_to: Sequence[str] = (),
) -> OpenedManifest:
    """The manifest of an entry: as it was written as Parquet under `work_uri`, else where its source is, else in one of
    the places `moved_to`. `source` is the configuration that its run had; None where that is gone."""
    done = _normalized(entry, work_uri, storage)
    if done is not None:
        return OpenedManifest(entry=entry, manifest=_of_parts(done, entry, storage))
    if source is None:
        return OpenedManifest(entry=entry, why_not="the configuration of its run is gone, so it cannot be opened")
    why = ""
    for place in (source.uri, *moved_to):
        try:
            return _open(entry, source.model_copy(update={"uri": place}), storage, place != source.uri)
        except (UserError, OSError) as error:
            why = why or reason_of(error)
    return OpenedManifest(entry=entry, why_not=why)


def _normalized(entry: ManifestEntry, work_uri: str, storage: StorageOptions) -> Normalized | None:
    there = [found for found in find_normalized(work_uri, entry.digest, storage) if found.num_rows >= entry.covered]
    return max(there, key=lambda found: found.num_rows, default=None)


def _of_parts(done: Normalized, entry: ManifestEntry, storage: StorageOptions) -> Manifest:
    shards = done.shards()
    schema = _schema(shards[0].path, storage) if shards else pa.schema([])
    own = {URI.name, ID.name, ERROR_FIELD.name, PACKED_IN.name}
    return Manifest(
        digest=done.digest,
        uri=entry.source,
        shards=shards,
        num_rows=done.num_rows,
        complete=done.complete,
        columns=Columns(
            id=ID.name,
            kept=tuple(field for field in schema if field.name not in own),
            resolved=True,
            packed=PACKED_IN.name in schema.names,
        ),
        allowed_roots=source_roots(entry.source, storage),
    )


def _schema(uri: str, storage: StorageOptions) -> pa.Schema:
    files, path = filesystem(uri, storage)
    with files.open(path, "rb") as stream:
        return pq.read_schema(stream)


def source_roots(source: str, storage: StorageOptions) -> tuple[str, ...]:
    """Local folders from which images of a source may be read, as its runs might; also where it is gone by now."""
    if split_uri(source)[0] != "file":
        return ()
    try:
        return roots_of(locate(source, storage))
    except (SourceError, OSError):
        one = manifest_kind(source) or is_tar_name(source) or is_image_name(source)
        return (parent_folder(source) if one else source,)


def _open(entry: ManifestEntry, source: SourceConfig, storage: StorageOptions, moved: bool) -> OpenedManifest:
    opened = open_source(source, storage)
    if isinstance(opened, VectorFolder):
        manifest = opened.manifest
    else:
        found = look_into(opened)
        if found.has_images or found.tars or any(manifest_kind(file.uri) != "parquet" for file in found.manifests):
            raise SourceError(
                f"{redact_uri(source.uri)}: the positions of its rows were written under NAME__runs/manifests, and are "
                "gone from there"
            )
        # Nothing is written for Parquet, so no place for it is needed.
        manifest = open_manifest(opened, source, "/nowhere")
    shape = (manifest.num_rows, len(manifest.shards))
    same = manifest.digest == entry.digest or (
        entry.content is not None and not moved and content_digest(manifest, storage) == entry.content
    )
    if not same and (not moved or shape != (entry.rows, entry.num_shards)):
        raise SourceError(
            f"{manifest.uri}: is not the manifest that was embedded: {manifest.num_rows:,} rows in "
            f"{len(manifest.shards):,} shards, and {entry.rows:,} in {entry.num_shards:,} were registered"
            if shape != (entry.rows, entry.num_shards)
            else f"{manifest.uri}: was changed since it was embedded"
        )
    return OpenedManifest(
        entry=entry, manifest=manifest, ready_vectors=isinstance(opened, VectorFolder), moved=moved and not same
    )


def is_unchanged(entry: ManifestEntry, source: SourceConfig, work_uri: str, storage: StorageOptions) -> bool:
    """Whether the source is still the manifest of the entry, so that an embed job of it would go on with that and not
    begin another. Text manifests, listings and tars are written as Parquet under `work_uri` where they are others by
    now, as the embed job does. Raises `SourceError`."""
    opened = open_source(source, storage)
    manifest = opened.manifest if isinstance(opened, VectorFolder) else open_manifest(opened, source, work_uri)
    if manifest.digest == entry.digest:
        return True
    return entry.content is not None and content_digest(manifest, storage) == entry.content
