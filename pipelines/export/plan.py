"""What an export holds, fixed before its first file: one version of the table, and which rows are in which file."""

from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Literal

import pyarrow as pa
from pydantic import BaseModel, ConfigDict

from operators.base.errors import UserError
from pipelines.scan.plain import plain_count
from pipelines.scan.where import filtered

Format = Literal["parquet", "npy"]
FloatType = Literal["float32"]

_COUNT_THREADS = 16

NPY_TYPES = {pa.float16(): "<f2", pa.float32(): "<f4", pa.int8(): "|i1", pa.uint8(): "|u1"}
"""Type of a vector's components -> how NumPy writes it down in a file."""


class ExportError(UserError):
    """The export cannot be made as asked; the message says why and what to do."""


class ExportRequest(BaseModel):
    """What is exported. A folder holds the files of one request and one version of the table."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    table: str
    """URI of the vector table."""
    format: Format
    vectors: tuple[str, ...]
    columns: tuple[str, ...]
    """Columns to export beside the vectors."""
    where: str | None
    rows_per_file: int
    dtype: FloatType | None = None
    """What float16 is written as; None: as it is."""


@dataclass(frozen=True, kw_only=True)
class Slice:
    """Consecutive rows of one fragment, numbered among those that match the filter."""

    fragment: int
    offset: int
    rows: int


@dataclass(frozen=True, kw_only=True)
class Part:
    """The rows of one file (npy: of one pair of files)."""

    number: int
    slices: tuple[Slice, ...]

    @property
    def rows(self) -> int:
        return sum(piece.rows for piece in self.slices)


def count_fragments(dataset: Any, where: str | None) -> list[tuple[int, int]]:
    """(fragment id, rows that match) of each fragment in order, read from metadata alone, or by one scan of the
    filter's columns.

    Raises `FilterError` for a filter that fails on a row.
    """
    fragments = sorted(dataset.get_fragments(), key=lambda fragment: fragment.fragment_id)
    with filtered(dataset, where), ThreadPoolExecutor(_COUNT_THREADS) as threads:
        counts = list(threads.map(lambda fragment: plain_count(fragment, where), fragments))
    return [(fragment.fragment_id, count) for fragment, count in zip(fragments, counts, strict=True)]


def num_parts(rows: int, rows_per_file: int) -> int:
    """The number of files. An export without rows is one file without rows, which still says what its columns are."""
    return max(1, -(-rows // rows_per_file))


def plan_parts(counts: Iterable[tuple[int, int]], rows_per_file: int) -> Iterator[Part]:
    """Parts that cover every row once, in the order of the fragments; each but the last has exactly `rows_per_file`."""
    number, room = 0, rows_per_file
    slices: list[Slice] = []
    for fragment, rows in counts:
        offset = 0
        while offset < rows:
            taken = min(room, rows - offset)
            slices.append(Slice(fragment=fragment, offset=offset, rows=taken))
            offset, room = offset + taken, room - taken
            if not room:
                yield Part(number=number, slices=tuple(slices))
                number, room, slices = number + 1, rows_per_file, []
    if slices or not number:
        yield Part(number=number, slices=tuple(slices))


def file_names(output_format: Format, number: int, num_files: int) -> tuple[str, ...]:
    """Names below the folder; sorted as text they are in the order of their rows. For npy, vectors come first.

    The npy layout is clip-retrieval's, which embedding_reader and autofaiss read by sorting names.
    """
    last = len(str(num_files - 1))
    if output_format == "parquet":
        return (f"part-{number:0{max(5, last)}d}.parquet",)
    stem = f"{number:0{max(4, last)}d}"
    return f"img_emb/img_emb_{stem}.npy", f"metadata/metadata_{stem}.parquet"


def export_schema(schema: pa.Schema, request: ExportRequest) -> pa.Schema:
    """The columns asked for, each with what the table records of it, in the table's order."""
    wanted = {*request.columns, *request.vectors}
    fields = [field for field in schema if field.name in wanted]
    return pa.schema([field.with_type(_widened(field.type)) for field in fields] if request.dtype else fields)


def _widened(kind: pa.DataType) -> pa.DataType:
    """The type with float32 for float16, in lists too."""
    if pa.types.is_float16(kind):
        return pa.float32()
    if pa.types.is_fixed_size_list(kind):
        return pa.list_(kind.value_field.with_type(_widened(kind.value_type)), kind.list_size)
    if pa.types.is_list(kind):
        return pa.list_(kind.value_field.with_type(_widened(kind.value_type)))
    return kind


def check_npy(schema: pa.Schema, vectors: Sequence[str]) -> None:
    """Raises `ExportError` where the vectors do not go into one npy file a part."""
    if len(vectors) != 1:
        raise ExportError(
            f"--format npy holds one vector column and {len(vectors)} are asked for ({', '.join(vectors)}); name one "
            "with --column, and export each into a folder of its own, or use --format parquet"
        )
    kind = schema.field(vectors[0]).type
    if not pa.types.is_fixed_size_list(kind):
        raise ExportError(
            f"--format npy: column {vectors[0]!r} is {kind}, several vectors a row, and an npy file is one matrix with "
            "one vector for each row; use --format parquet"
        )
    if kind.value_type not in NPY_TYPES:
        raise ExportError(
            f"--format npy: column {vectors[0]!r} holds {kind.value_type}; written are "
            f"{', '.join(str(each) for each in NPY_TYPES)}; use --format parquet"
        )
