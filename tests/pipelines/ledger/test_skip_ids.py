"""The set of ids that are there already, and the rows that it marks."""

import pickle
from pathlib import Path

import numpy as np
import pyarrow as pa

from made.manifests import manifest_of
from operators.storage.stores import NO_OPTIONS
from pipelines.ledger.skip_ids import SkipIds
from pipelines.manifests.manifest import SourceConfig
from pipelines.sources.source import Source
from pipelines.sources.work import shard_work


def test_contains_exactly_the_ids_given() -> None:
    given = [f"id-{i}" for i in range(20_000)]
    skip = SkipIds.from_columns([pa.array(given[:7000]), pa.chunked_array([given[7000:], [None, "id-5"]])])
    assert skip.contains(given).all()
    assert not skip.contains([f"other-{i}" for i in range(20_000)]).any()
    assert skip.contains(["id-3", None, "", "id-20000", "id-19999"]).tolist() == [True, False, False, False, True]
    assert skip.high.nbytes + skip.low.nbytes == 16 * 20_001


def test_an_empty_set() -> None:
    skip = SkipIds.from_columns([])
    assert len(skip) == 0
    assert skip.contains(["a", None]).tolist() == [False, False]
    assert skip.contains([]).shape == (0,)


def test_equal_high_halves_are_told_apart_by_the_low_ones() -> None:
    full = SkipIds.from_columns([pa.array(["a"])])
    skip = SkipIds(np.repeat(full.high, 3), np.array([1, 2, 3], np.uint64))
    assert not skip.contains(["a"])[0]
    assert not SkipIds(full.high, full.low + np.uint64(1)).contains(["a"])[0]
    low = np.sort(np.append(np.array([1, 2], np.uint64), full.low))
    assert SkipIds(np.repeat(full.high, 3), low).contains(["a"])[0]


def test_rows_with_a_known_id_are_marked_and_bad_rows_stay_bad(tmp_path: Path) -> None:
    path = tmp_path / "m.csv"
    path.write_text("uri,n\ns3://b/0,a\n,b\ns3://b/2,c\ns3://b/3,d\n")
    manifest = manifest_of(SourceConfig(uri=str(path), id_column="n"), NO_OPTIONS, str(tmp_path / "work"))
    skip = SkipIds.from_columns([pa.array(["b", "c"])])
    source = pickle.loads(pickle.dumps(Source(columns=manifest.columns, skip_ids=skip)))
    work = shard_work(manifest.shards[0], 0, np.ones(4, bool))
    assert work is not None
    (table,) = source.read(work, 100)
    assert table["error_class"].to_pylist() == [None, "bad_uri", "skipped_existing", None]
    assert table["error_stage"].to_pylist() == [None, "source", "source", None]
    assert table["uri"].to_pylist() == ["s3://b/0", None, "s3://b/2", "s3://b/3"]
