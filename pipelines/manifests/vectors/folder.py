"""A folder of ready vectors as a source: `img_emb/*.npy`, and `metadata/*.parquet` with the same rows."""

from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any

import pyarrow as pa

from operators.base.columns import FETCH_FIELDS, ID, IMAGE_FIELDS, REGION_ID
from operators.storage.redact import redact_uri
from operators.storage.stores import StorageOptions
from pipelines.export.npy import NpyFile, read_npy_header
from pipelines.export.record import beside, read_record
from pipelines.manifests.columns.choose import choose_columns, digested_as, type_notices
from pipelines.manifests.files import Listing, SourceFile, manifest_digest
from pipelines.manifests.manifest import Manifest, Shard, SourceConfig, SourceError
from pipelines.manifests.parquet import Footer, read_footers
from pipelines.manifests.vectors.pairs import pair_files

VECTORS_FOLDER, METADATA_FOLDER = "img_emb", "metadata"
_HEADER_THREADS = 16
_TYPES = ("<f2", "<f4")


@dataclass(frozen=True, kw_only=True)
class VectorShard(Shard):
    """One npy file, and the Parquet file with the same rows."""

    npy: NpyFile


@dataclass(frozen=True, kw_only=True)
class VectorFolder:
    """An open folder of ready vectors."""

    manifest: Manifest
    """Its shards are `VectorShard`; kept columns are those that the user names."""
    facts: tuple[pa.Field, ...]
    """Pixlake's own columns about the image and its bytes that the metadata has."""
    dim: int
    dtype: str
    described: dict[str, Any] | None
    """What Pixlake recorded of the vectors when it exported the folder; None for a folder of another tool."""
    record_uri: str
    """URI of the record that an export of the folder has, without secrets."""


def open_vector_folder(files: Listing, config: SourceConfig) -> VectorFolder | None:
    """The source's vectors, with their positions fixed; None where the source is no such folder.

    Raises `SourceError`, naming the file, where files do not belong together or are not what their names say.
    """
    npys = _files(files, VECTORS_FOLDER, ".npy") if files.place.kind == "folder" else []
    return _open(files, npys, config) if npys else None


def _open(listing: Listing, files: Sequence[SourceFile], config: SourceConfig) -> VectorFolder:
    place, storage = listing.place, listing.storage
    metadata = pair_files(files, _files(listing, METADATA_FOLDER, ".parquet"))
    where = redact_uri(place.uri)
    with ThreadPoolExecutor(_HEADER_THREADS) as threads:
        npys = list(threads.map(partial(_read_header, storage), files))
    footers = read_footers(metadata, config, storage)
    vectors = _with_rows(npys, where)
    _check_alike(vectors)
    _check_rows(npys, metadata, footers)
    described = _described(place.uri, metadata, footers, storage)
    if described is not None and config.id_column is None:
        # Of a row per region, the region's own: the image's id is that of all its regions.
        ids = [field.name for field in (REGION_ID, ID) if field.name in footers[0].schema.names]
        config = config.model_copy(update={"id_column": next(iter(ids), None)})
    columns = choose_columns(metadata, footers, config, storage)
    shards = _shards(metadata, npys, footers)
    return VectorFolder(
        manifest=Manifest(
            digest=manifest_digest([*files, *metadata], columns.uri, config, digested_as("vectors", columns)),
            uri=redact_uri(config.uri),
            shards=shards,
            num_rows=sum(shard.num_rows for shard in shards),
            columns=columns,
            rows_say_all=False,
            notices=(
                f"{where} holds ready vectors: no image is fetched, decoded or embedded",
                *type_notices(footers, config),
            ),
        ),
        facts=tuple(_facts(footers)),
        dim=vectors[0].dim,
        dtype=vectors[0].dtype,
        described=described,
        record_uri=beside(redact_uri(config.uri)),
    )


def _read_header(storage: StorageOptions, file: SourceFile) -> NpyFile:
    return read_npy_header(file.uri, file.size, storage, version=file.version)


def _files(listing: Listing, folder: str, ending: str) -> list[SourceFile]:
    """The files directly in the folder: clip-retrieval puts them nowhere else."""
    return [file for file in listing.directly_in(folder) if file.uri.endswith(ending)]


def _with_rows(npys: Sequence[NpyFile], where: str) -> list[NpyFile]:
    """The files that say what the vectors are. A file without rows says nothing: `np.save([])` has no dim."""
    found = [npy for npy in npys if npy.rows] or [npy for npy in npys if npy.dim]
    if not found:
        raise SourceError(f"{where}: no file in {VECTORS_FOLDER}/ holds a vector; write them again")
    return found


def _check_alike(npys: Sequence[NpyFile]) -> None:
    first = npys[0]
    for npy in npys:
        if npy.dtype not in _TYPES:
            raise SourceError(
                f"{redact_uri(npy.uri)}: holds {npy.dtype}; ready vectors are little-endian float16 or float32 "
                "(vectors.astype('<f4')), which a table then quantizes itself"
            )
        if (npy.dim, npy.dtype) != (first.dim, first.dtype):
            raise SourceError(
                f"{redact_uri(first.uri)} holds {first.dim}-d {first.dtype}, {redact_uri(npy.uri)} {npy.dim}-d "
                f"{npy.dtype}; import files that differ into tables of their own"
            )


def _check_rows(npys: Sequence[NpyFile], metadata: Sequence[SourceFile], footers: Sequence[Footer]) -> None:
    for npy, file, footer in zip(npys, metadata, footers, strict=True):
        rows = sum(footer.group_rows)
        if rows != npy.rows:
            raise SourceError(
                f"{redact_uri(npy.uri)} has {npy.rows} rows and {redact_uri(file.uri)} {rows}; they must be the same "
                "rows in the same order: write both again"
            )


def _shards(
    metadata: Sequence[SourceFile], npys: Sequence[NpyFile], footers: Sequence[Footer]
) -> tuple[VectorShard, ...]:
    shards: list[VectorShard] = []
    first_row = 0
    for file, npy, footer in zip(metadata, npys, footers, strict=True):
        if not npy.rows:
            continue
        shards.append(
            VectorShard(
                number=len(shards),
                path=file.uri,
                row_groups=range(len(footer.group_rows)),
                first_row=first_row,
                num_rows=npy.rows,
                version=file.version,
                npy=npy,
            )
        )
        first_row += npy.rows
    return tuple(shards)


def _facts(footers: Iterable[Footer]) -> Iterator[pa.Field]:
    """Columns about the image that every file has in our type: other tools use these names for other things."""
    schemas = [footer.schema for footer in footers if footer.rows]
    for field in (*IMAGE_FIELDS, *FETCH_FIELDS):
        if schemas and all(_has(schema, field) for schema in schemas):
            yield field


def _has(schema: pa.Schema, field: pa.Field) -> bool:
    return field.name in schema.names and schema.field(field.name).type == field.type


def _described(
    folder: str, metadata: Sequence[SourceFile], footers: Sequence[Footer], storage: StorageOptions
) -> dict[str, Any] | None:
    record = read_record(folder, storage)
    if record is None:
        return None
    if len(metadata) != record.content["files"]:
        raise SourceError(
            f"{redact_uri(folder)}: {len(metadata)} of {record.content['files']} files of an export are there; let "
            "`pixlake export` end first, the same command goes on"
        )
    for file, footer in zip(metadata, footers, strict=True):
        # A record inside came into the folder with its files; one beside it may be that of a folder that was removed.
        if not record.is_inside and not record.is_of(footer.metadata):
            raise SourceError(
                f"{redact_uri(file.uri)}: is no file of the export that {redact_uri(record.uri)} tells of; take that "
                "record away if the folder holds other vectors now, or export again"
            )
    [described] = record.content["vectors"].values()
    return dict(described)
