"""Rows read fragment by fragment, so that a file that cannot be read costs its own rows and is named."""

from collections.abc import Iterator, Sequence
from typing import Any

import pyarrow as pa

from operators.storage.redact import reason_of
from pipelines.scan.plain import plain_scan

_PANIC = "PanicException"
"""What Lance's own library raises where damaged bytes break an assumption of it: no `Exception`."""


class BrokenFragments:
    """Fragments that could not be read, with the reason; each once, however many scans meet it."""

    def __init__(self) -> None:
        self.reasons: dict[int, str] = {}

    def read(
        self, dataset: Any, columns: Sequence[str], *, batch_size: int = 65536, with_row_address: bool = False
    ) -> Iterator[pa.RecordBatch]:
        """Batches of the columns of all rows, in the order of fragments; what follows the first error of a fragment is
        left out."""
        for fragment in dataset.get_fragments():
            if fragment.fragment_id not in self.reasons:
                yield from self._read(fragment, columns, batch_size, with_row_address)

    def _read(
        self, fragment: Any, columns: Sequence[str], batch_size: int, with_row_address: bool
    ) -> Iterator[pa.RecordBatch]:
        batches = plain_scan(fragment, columns, batch_size=batch_size, with_row_address=with_row_address)
        while True:
            try:
                batch = next(batches, None)
            except BaseException as error:
                if not isinstance(error, Exception) and type(error).__name__ != _PANIC:
                    raise
                self.reasons[fragment.fragment_id] = reason_of(error)
                return
            if batch is None:
                return
            yield batch
