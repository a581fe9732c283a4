"""What it costs to read the ledger by a scan, and what an index on `shard`, which it does not ask, would save."""

import argparse
import tempfile
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import lance
import numpy as np
import pyarrow as pa

from pipelines.ledger.ledger import read_positions, rows_by_shard

ROUNDS = 3


def make(uri: str, rows: int, shards: int, rows_per_fragment: int) -> Any:
    """A table of positions alone, as many rows in each shard; ids would not be read."""
    for first in range(0, rows, rows_per_fragment * 16):
        number = np.arange(first, min(first + rows_per_fragment * 16, rows))
        shard, row = np.divmod(number, rows // shards)
        table = pa.table({"shard": pa.array(shard.astype("i4")), "row": pa.array(row.astype("i4"))})
        lance.write_dataset(table, uri, mode="append", max_rows_per_file=rows_per_fragment, data_storage_version="2.2")
    return lance.dataset(uri)


def best(call: Callable[[], object]) -> float:
    """Seconds, of a few rounds."""
    taken = []
    for _ in range(ROUNDS):
        started = time.perf_counter()
        call()
        taken.append(time.perf_counter() - started)
    return min(taken)


def by_index(dataset: Any, shards: int) -> int:
    """The rows that `read_positions` reads, as Lance filters where it may ask an index."""
    scanner = dataset.scanner(columns=["shard", "row"], filter=f"`shard` >= 0 AND `shard` < {shards}", batch_size=65536)
    return sum(batch.num_rows for batch in scanner.to_batches())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument("--shards", type=int, default=100)
    parser.add_argument("--rows-per-fragment", type=int, default=65_536)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        dataset = make(f"{folder}/t.lance", given.rows, given.shards, given.rows_per_fragment)
        print(f"{given.rows:,} rows in {given.shards} shards and {len(dataset.get_fragments())} fragments")
        for name, some in (("every manifest", given.shards), ("a tenth of the rows", given.shards // 10)):
            print(f"{name}, scanned: {best(partial(read_positions, dataset, 0, some)):.3f} s")
        print(f"rows of every shard counted: {best(partial(rows_by_shard, dataset)):.3f} s")
        for column in ("shard", "row"):
            dataset.create_scalar_index(column, "BTREE")
        for name, some in (("every manifest", given.shards), ("a tenth of the rows", given.shards // 10)):
            print(f"{name}, through a BTREE: {best(partial(by_index, dataset, some)):.3f} s")
            print(f"{name}, scanned beside it: {best(partial(read_positions, dataset, 0, some)):.3f} s")


if __name__ == "__main__":
    main()
