"""`pixlake map`: the images of a table on a plane, near where alike, as a folder that a browser shows."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pyarrow as pa
from pydantic import BaseModel, BeforeValidator, Field

from jobs.config.read import PastReadConfig
from jobs.looking.atlas import AtlasPoints, check_atlas_folder, write_atlas
from jobs.looking.images import AT, make_jpegs
from jobs.session.progress import Progress
from operators.base.columns import URI
from operators.base.errors import UserError
from operators.decode import DecodeOptions
from operators.fetching.options import FetchOptions
from operators.storage.redact import redact_uri
from pipelines.overview.drawn import draw_row_ids, take_columns
from pipelines.overview.plane import nearest_each, on_plane
from pipelines.scan.where import filtered, row_filter
from pipelines.search.column import SearchColumn, search_column
from pipelines.space.choose import choose_column
from pipelines.space.field import vector_columns
from pipelines.space.flat import comparable, flat_numpy
from pipelines.space.usable_rows import usable_rows

_LONGEST_TEXT = 500


class MapConfig(PastReadConfig):
    """Which rows of which column are shown, and how."""

    out: str
    """The folder for the map."""
    column: str | None = None
    """The vector column; must be given where a table has several models."""
    colour: str | None = None
    """The column that colours the points at first: a column, or a field of a struct."""
    where: str | None = None
    """SQL on the table's columns."""
    sample: int = Field(default=20_000, ge=1)
    """Rows shown, at most."""
    fitted: int = Field(default=20_000, ge=10)
    """Of them, how many make the plane; all others are placed on it."""
    neighbours: int = Field(default=15, ge=2)
    """Of UMAP: how many of its nearest are to stay near to an image. Larger shows the whole, smaller the detail."""
    thumbnail: Annotated[int, BeforeValidator(lambda value: 0 if value is False else value)] = Field(
        default=96, ge=0, le=320
    )
    """The longer side of the pictures in pixels; 0 for none."""
    seed: int = Field(default=0, ge=0)
    fetch: FetchOptions = FetchOptions()
    decode: DecodeOptions = DecodeOptions()


class MapReport(BaseModel):
    """What was made."""

    table: str
    version: int
    column: str
    out: str
    rows: int
    """That may be shown."""
    shown: int
    without_vector: int
    """Rows drawn that have no vector with a direction."""
    fitted: int
    pictures: int
    no_picture: dict[str, int]
    """Class of failure -> images."""
    colour: str | None
    columns: list[str]
    bytes: int


@dataclass(frozen=True, kw_only=True)
class _MappedRows:
    """Rows with a vector each."""

    columns: pa.Table
    places: pa.Table
    """Where their images are, by the columns `AT`."""
    vectors: np.ndarray
    """(N, D) float32 of length 1."""
    without: int


def run(config: MapConfig) -> MapReport:
    """Make the map. Raises `UserError` for a table, column or folder that does not do, `OSError` where storage
    fails."""
    folder = Path(config.out)
    check_atlas_folder(folder)
    dataset = config.vectors
    where = None if config.where is None else row_filter(dataset, config.where)
    name = choose_column(config.table, dataset.schema, config.column)
    column = search_column(dataset.schema.field(name), config.storage_of_table, artifacts=config.stored.artifacts)
    _check_column(config.table, column)
    names = _shown_columns(dataset.schema)
    _check_colour(config, dataset.schema, names)
    with Progress() as progress:
        progress.phase("drawing rows")
        with filtered(dataset, config.where):
            row_ids, num_rows = draw_row_ids(dataset, config.sample, where=where, seed=config.seed)
        shown = _read(dataset, row_ids, column, names)
        if not len(shown.vectors):
            raise UserError(f"table {config.table}: none of {num_rows} rows has a vector in {name}, so nothing to show")
        plane = on_plane(
            shown.vectors, fitted=config.fitted, neighbours=config.neighbours, seed=config.seed, phase=progress.phase
        )
        progress.phase("finding neighbours")
        near = nearest_each(shown.vectors, config.neighbours)
        pictures, problems = _pictures(config, shown, progress)
        progress.phase(f"writing {folder}")
        points = AtlasPoints(
            plane=plane, near=near, columns=shown.columns, pictures=pictures, colour=_renamed(config.colour)
        )
        about = {"table": redact_uri(config.table), "version": dataset.version, "column": name, "seed": config.seed}
        size = write_atlas(folder, points, about)
    return MapReport(
        table=config.table,
        version=dataset.version,
        column=name,
        out=str(folder),
        rows=num_rows,
        shown=len(plane),
        without_vector=shown.without,
        fitted=min(config.fitted, len(plane)),
        pictures=sum(each is not None for each in pictures),
        no_picture=problems,
        colour=config.colour,
        columns=shown.columns.column_names,
        bytes=size,
    )


def as_text(report: MapReport) -> str:
    """What a person is told."""
    lines = [
        f"{report.out}: {report.shown} of {report.rows} rows of {report.table} {report.column}, "
        f"{report.pictures} with a picture, {report.bytes / 2**20:.0f} MiB",
        *(f"  no picture: {count} {kind}" for kind, count in sorted(report.no_picture.items())),
        *([f"  no vector: {report.without_vector}"] if report.without_vector else []),
        f"look at it: python3 -m http.server 8000 --bind 127.0.0.1 --directory {report.out}",
        "then open http://127.0.0.1:8000",
    ]
    return "\n".join(lines)


def _check_column(table: str, column: SearchColumn) -> None:
    if column.multivector:
        raise UserError(
            f"table {table}: column {column.name} has several vectors a row, and a point stands for one; embed with "
            "regions.layout=rows, where each region is a row, or without regions"
        )
    if column.metric == "hamming":
        raise UserError(f"table {table}: column {column.name} has packed bits; name the column they were made of")


def _shown_columns(schema: pa.Schema) -> list[str]:
    """Columns and fields of structs that a browser can show, without vectors."""
    vectors = set(vector_columns(schema))
    names: list[str] = []
    for field in schema:
        if field.name in vectors:
            continue
        fields = list(field.type) if pa.types.is_struct(field.type) else []
        inner = [f"{field.name}.{each.name}" for each in fields if _is_plain(each.type)]
        names += inner if fields else [field.name] if _is_plain(field.type) else []
    return names


def _is_plain(kind: pa.DataType) -> bool:
    binary = pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_fixed_size_binary(kind)
    return not (pa.types.is_nested(kind) or binary or pa.types.is_null(kind))


def _check_colour(config: MapConfig, schema: pa.Schema, names: list[str]) -> None:
    if config.colour is None or config.colour in names:
        return
    kind = schema.field(config.colour).type if config.colour in schema.names else None
    why = "no such column" if kind is None else f"a page shows no {kind}"
    raise UserError(f"table {config.table}: --colour {config.colour}: {why}; there: {', '.join(names)}")


def _renamed(name: str | None) -> str | None:
    # A point in a name would be a field to the SQL of the page.
    return None if name is None else name.replace(".", "_")


def _read(dataset: Any, row_ids: np.ndarray, column: SearchColumn, names: list[str]) -> _MappedRows:
    wanted = list(dict.fromkeys([name.partition(".")[0] for name in names] + [*AT, column.name]))
    rows = take_columns(dataset, row_ids, wanted)
    usable = usable_rows(rows[column.name], "cosine")
    rows = rows.filter(pa.array(usable))
    stored = column.codec.decode(flat_numpy(rows[column.name]))
    flat = rows.drop_columns([column.name]).flatten()
    shown = pa.table({str(_renamed(name)): _for_page(name, flat[name]) for name in names})
    return _MappedRows(
        columns=shown,
        places=rows.select(AT),
        vectors=comparable(stored, "cosine"),
        without=int((~usable).sum()),
    )


def _for_page(name: str, values: pa.ChunkedArray) -> pa.ChunkedArray:
    """Texts short and without secrets; what DuckDB has no type for as text."""
    kind = values.type
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        texts = values.to_pylist()
        redact = redact_uri if name == URI.name else str
        return pa.chunked_array(
            [pa.array([None if text is None else redact(text)[:_LONGEST_TEXT] for text in texts], pa.string())]
        )
    if pa.types.is_float16(kind):
        return values.cast(pa.float32())
    return values


def _pictures(config: MapConfig, shown: _MappedRows, progress: Progress) -> tuple[list[bytes | None], dict[str, int]]:
    uris = shown.places[URI.name].to_pylist()
    if not config.thumbnail:
        return [None] * len(uris), {}

    def counted(done: int, of: int) -> None:
        progress.counted(f"{done} of {of} pictures", done / of)

    made = make_jpegs(config, shown.places, config.thumbnail, config.fetch, config.decode, counted)
    return [made.jpegs.get(uri) for uri in uris], made.problems
