"""Tars opened as a source: a row for each image, with the place of its bytes, written once as Parquet parts.

It costs one read of the tars from end to end, in large ranges; of local ones the headers alone.
"""

from collections.abc import Iterator, Sequence
from itertools import islice

import pyarrow as pa

from operators.base.columns import PACKED_IN
from operators.base.errors import clean_message
from operators.storage.redact import redact_uri
from operators.storage.stores import StorageOptions
from pipelines.manifests.files import SourceFile, manifest_digest
from pipelines.manifests.manifest import Columns, Manifest, OnRows, SourceConfig, SourceError
from pipelines.manifests.normalized import find_covering, write_rows
from pipelines.manifests.parts import ERROR_FIELD
from pipelines.manifests.tars.columns import KeyedRows, TarColumns, choose_tar_columns, read_beside
from pipelines.manifests.tars.notes import TarNotes
from pipelines.manifests.tars.samples import SampleImage, read_images
from pipelines.manifests.tars.streams import tar_streams
from pipelines.manifests.uris import BadUri, check_uri

SHARD_ROWS = 8_192
"""Rows of one shard at most: about those of one tar, so that a small `limit` reads little."""
_BATCH_ROWS = 8_192


def open_tars(
    tars: Sequence[SourceFile],
    others: Sequence[SourceFile] | None,
    config: SourceConfig,
    work_uri: str,
    storage: StorageOptions,
    progress: OnRows | None,
    roots: tuple[str, ...],
) -> Manifest:
    """The manifest of tars in the order given; its rows are found or written under `work_uri`.

    `others` are the files that lie around them; None where nobody has listed them. Raises `SourceError` where what is
    asked for of an image is said nowhere, or where a tar is replaced meanwhile.
    """
    if config.uri_column is not None:
        raise SourceError(
            "uri_column is set, but an image in a tar is called TAR#MEMBER; leave it out, and keep the column instead: "
            f"--set 'source.keep=[{config.uri_column}]'"
        )
    config = config.model_copy(update={"rows_per_shard": min(config.rows_per_shard, SHARD_ROWS)})
    columns = choose_tar_columns(tars, others, config, storage)
    asked = [*columns.beside.values()] if columns.id or columns.names else []
    digest = manifest_digest([*tars, *asked], None, config, f"tar {config.rows_per_shard}")
    notes = TarNotes()
    done = find_covering(work_uri, digest, config.limit, storage) or write_rows(
        _counted(_tables(tars, columns, storage, notes), progress), config, digest, work_uri, storage, None, notes.lines
    )
    return Manifest(
        digest=digest,
        uri=redact_uri(config.uri),
        shards=done.shards(),
        num_rows=done.num_rows,
        complete=done.complete,
        rows_say_all=False,
        columns=Columns(id="id", kept=columns.kept, resolved=True, packed=True),
        allowed_roots=roots,
        notices=done.notices,
    )


def _counted(tables: Iterator[pa.Table], progress: OnRows | None) -> Iterator[pa.Table]:
    """Tells of rows as they are found: a part of them may be gigabytes of tars."""
    rows = 0
    for table in tables:
        rows += table.num_rows
        if progress is not None:
            progress(rows)
        yield table


def _tables(
    tars: Sequence[SourceFile], columns: TarColumns, storage: StorageOptions, notes: TarNotes
) -> Iterator[pa.Table]:
    for tar, stream in tar_streams(tars, storage):
        beside = read_beside(columns, tar, storage, notes)
        images = read_images(tar, stream, columns.asked_of_members, notes)
        while batch := list(islice(images, _BATCH_ROWS)):
            yield _table(tar, batch, columns, beside)


def _table(tar: SourceFile, images: Sequence[SampleImage], columns: TarColumns, beside: KeyedRows | None) -> pa.Table:
    """A row for each image: `uri`, `id`, kept columns, `error`, `packed_in`."""
    members = [image.member for image in images]
    uris: list[str | None] = [f"{tar.uri}#{member.name}" for member in members]
    errors: list[str | None] = [None] * len(members)
    made, problems = columns.arrays(images, beside)
    for index, (uri, member) in enumerate(zip(uris, members, strict=True)):
        try:
            check_uri(uri)
            problem = member.problem or problems.get(index)
        except BadUri as error:
            uris[index], problem = None, str(error)
        if problem is not None:
            errors[index] = clean_message(f"{redact_uri(tar.uri)}: {member.name!a}: {problem}")
    places = pa.StructArray.from_arrays(
        [
            pa.array([tar.uri] * len(members), pa.string()),
            pa.array([member.offset for member in members], pa.int64()),
            pa.array([member.size for member in members], pa.int64()),
            pa.array([tar.version] * len(members), pa.string()),
        ],
        fields=list(PACKED_IN.type),
    )
    fields = [pa.field("uri", pa.string()), pa.field("id", pa.string()), *columns.kept, ERROR_FIELD, PACKED_IN]
    arrays = [pa.array(uris, pa.string()), *made, pa.array(errors, pa.string()), places]
    return pa.Table.from_arrays(arrays, schema=pa.schema(fields))
