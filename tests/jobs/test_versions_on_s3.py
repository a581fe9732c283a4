"""Tags, earlier states, differences and upkeep of a table in a bucket, with the result in the bucket too."""

from pathlib import Path

import pyarrow.parquet as pq
import pytest

from jobs.diff import DiffConfig
from jobs.diff import run as diff
from jobs.failures import FailuresConfig
from jobs.failures import run as failures
from jobs.upkeep import UpkeepConfig
from jobs.upkeep import run as upkeep
from made.tables import batch, open_committer, sink_of
from operators.storage.stores import StorageOptions, filesystem
from pipelines.table.table import Table
from pipelines.versions.open import vectors_at
from pipelines.versions.prune import Keep, prune
from pipelines.versions.tags import delete_tag, list_tags, tag_state
from servers.s3 import S3Server


@pytest.mark.s3
def test_a_table_on_s3(s3: S3Server, tmp_path: Path) -> None:
    storage = StorageOptions(**s3.storage_options)
    name = f"s3://{s3.bucket('versions')}/lake/photos"
    table = Table.of(name, storage)
    committer = open_committer(table.names, storage=storage)
    sink = sink_of(table.names, storage)
    for shard in range(3):
        committer.commit([sink.write(batch(shard, range(4), failed=[1]))])
    first = upkeep(UpkeepConfig(table=name, table_storage=storage, cluster={"executor": "local"}, tag="first"))
    assert (first.vectors.fragments_before, first.vectors.fragments, first.failures.fragments) == (3, 1, 1)
    committer.commit([sink.write(batch(3, range(4), failed=[1]))])
    again = upkeep(UpkeepConfig(table=name, table_storage=storage, cluster={"executor": "local"}, tag="second"))
    assert again.vectors.fragments == 1
    assert [tag.name for tag in list_tags(table)] == ["first", "second"]
    assert vectors_at(table, "first").count_rows() == 9
    assert failures(FailuresConfig(table=name, table_storage=storage, at="first")).total == 3
    out = name.replace("photos", "differences.parquet")
    found = diff(DiffConfig(table=name, storage=storage, before="first", out=out))
    assert (found.counts["added"], found.counts["failed"]) == (3, 1)
    opened, path = filesystem(out, storage)
    assert pq.read_table(path, filesystem=opened).num_rows == 4
    assert [each.versions for each in prune(table, Keep(number=1))] == [0, 0]
    delete_tag(table, "first")
    assert tag_state(table, "second").vectors == again.version
