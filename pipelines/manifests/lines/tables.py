"""Rows of manifests of lines as tables under the normalised schema."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from operators.base.errors import clean_message
from operators.storage.redact import redact_uri
from pipelines.manifests.columns.hive import hive_values
from pipelines.manifests.columns.texts import encodes, text_array
from pipelines.manifests.lines.columns import ReadColumns, read_csv, read_json, read_text
from pipelines.manifests.lines.found import FoundRows
from pipelines.manifests.lines.text import line_of
from pipelines.manifests.manifest import SourceConfig
from pipelines.manifests.parts import normalized_schema
from pipelines.manifests.records import CsvColumns, ManifestRecord, jsonl_records
from pipelines.manifests.uris import parent_folder, resolve_uris

_FEWEST = 256
"""Lines of JSON that are read one by one rather than looked at in parts."""


class LinesFile(NamedTuple):
    """What all rows of one file share."""

    uri: str
    kind: str
    config: SourceConfig
    """Its `keep` lacks the columns that are in the path."""
    csv: CsvColumns | None


class RowsTable:
    """Makes tables of the rows of one file."""

    def __init__(self, file: LinesFile, keep: Sequence[str]) -> None:
        """`keep` are all columns to keep, those in the path too."""
        self._file = file
        self._said = hive_values(file.uri)
        self._keep = keep
        self._schema = normalized_schema(file.config.model_copy(update={"keep": tuple(keep)}))

    def read(self, found: FoundRows) -> pa.Table:
        """The rows in their order."""
        read = self._columns(found)
        if read is None:
            return self._by_parts(found)
        table = self._table(found.lines[found.is_plain], read, {})
        if not found.odd:
            return table
        order = np.empty(len(found), np.int64)
        order[found.is_plain] = np.arange(table.num_rows)
        rows = sorted(found.odd)
        order[rows] = table.num_rows + np.arange(len(rows))
        return pa.concat_tables([table, self.of_records([found.odd[row] for row in rows])]).take(pa.array(order))

    def _columns(self, found: FoundRows) -> ReadColumns | None:
        if self._file.csv is not None:
            return read_csv(found, self._file.csv)
        return read_text(found) if self._file.kind == "text" else read_json(found, self._file.config)

    def _by_parts(self, found: FoundRows) -> pa.Table:
        """Lines of JSON of which some cannot be read as columns."""
        if len(found) > _FEWEST:
            size = -(-len(found) // 8)
            return pa.concat_tables([self.read(found.slice(first, size)) for first in range(0, len(found), size)])
        records: list[ManifestRecord] = []
        for row, number in enumerate(found.lines.tolist()):
            line = line_of(number, found.data[int(found.starts[row]) : int(found.ends[row])], False)
            records += [found.odd[row]] if row in found.odd else jsonl_records(iter([line]), self._file.config)
        return self.of_records(records)

    def of_records(self, records: Sequence[ManifestRecord]) -> pa.Table:
        lines, texts, ids, kept, problems = zip(*records, strict=True)
        reasons = {index: problem for index, problem in enumerate(problems) if problem is not None}
        try:
            uris = pa.array(texts, pa.string())
        except UnicodeEncodeError:
            reasons |= {index: "URI is not valid Unicode" for index, text in enumerate(texts) if not encodes(text)}
            uris = pa.array([text if encodes(text) else None for text in texts], pa.string())
        columns = tuple(text_array([row[at] for row in kept]) for at in range(len(self._file.config.keep)))
        return self._table(np.array(lines), ReadColumns(uris, text_array(ids), columns), reasons)

    def _table(self, lines: np.ndarray, read: ReadColumns, reasons: dict[int, str]) -> pa.Table:
        """URIs are made absolute; a row with none has the reason, with file and line."""
        uris, unresolved = resolve_uris(read.uri, parent_folder(self._file.uri))
        where = redact_uri(self._file.uri)
        errors = pa.nulls(len(uris), pa.string())
        if reasons or unresolved:
            told = {
                at: clean_message(f"{where}:{lines[at]}: {reason}") for at, reason in (unresolved | reasons).items()
            }
            errors = pa.array([told.get(at) for at in range(len(uris))], pa.string())
        kept = dict(zip(self._file.config.keep, read.kept, strict=True))
        columns = [
            kept[name] if name in kept else pa.array([self._said[name]] * len(uris), pa.string()) for name in self._keep
        ]
        arrays = [uris, read.id, *columns, errors]
        return pa.Table.from_arrays(arrays, schema=self._schema)
