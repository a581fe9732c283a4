"""Rows of a table at positions that their manifest does not have."""

from pipelines.ledger.ledger import Ledger
from pipelines.manifests.manifest import Manifest
from pipelines.table.positions import describe_keys


def leave_out_strangers(ledger: Ledger, manifest: Manifest) -> list[str]:
    """Take rows of the manifest's shards that are not its own out of the ledger; gives a sentence that names them."""
    if not manifest.complete:
        # A limit has ended its reading: it may have these rows.
        return []
    outside = ledger.outside([shard.num_rows for shard in manifest.shards])
    if not len(outside):
        return []
    for held in (ledger.vectors, ledger.failures, ledger.incomplete):
        held.remove(outside)
    return [
        f"{len(outside):,} rows stand at positions beyond the manifest's last row: (shard, row) "
        f"{describe_keys(outside)}. Another tool has added them; they are left as they are, and count for no manifest"
    ]
