"""How the manifest reaches the actors, in full blocks and few tasks, and how errors come back. One small Ray."""

import contextlib
import gc
import os
import pickle
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import lance
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from jobs.session.lean_ray import lean_data
from made.api_clients import LIMITS, ask_twenty, check_rate
from made.derived import FIELD, embed, expected, first_half, held
from made.manifests import manifest_of
from made.tables import names_in
from made.vector_folders import DIM, vectors_of, write_folder
from operators.base.errors import UserError
from operators.base.operator import Operator, OperatorConfig
from operators.decode import DecodeOptions
from operators.fetching.options import FetchOptions
from operators.models.load import describe
from operators.models.spec import ModelError, parse_model_name
from operators.normalize import NormalizeOptions
from operators.regions.options import GridOptions
from operators.storage.stores import NO_OPTIONS
from pipelines.commits.committer import Committer
from pipelines.commits.sink import Sink
from pipelines.derivation.column import derive_column
from pipelines.derivation.fit_pca import fit_pca_of_table
from pipelines.embedding.chain import operator_chain
from pipelines.embedding.columns import Options, VectorColumn
from pipelines.embedding.image_embedding import arrange, image_embedding
from pipelines.manifests.manifest import Columns, Shard, SourceConfig
from pipelines.manifests.open import open_source
from pipelines.manifests.vectors.folder import VectorFolder
from pipelines.run.cluster import ClusterConfig, StageConfig
from pipelines.run.local import run_local
from pipelines.run.on_ray import run as run_ray
from pipelines.run.pipeline import Pipeline
from pipelines.run.quota import RayQuota, ray_quota
from pipelines.run.resources import LostNodes
from pipelines.run.stage import Resources, Stage
from pipelines.sources.source import Source
from pipelines.sources.vectors import VectorSource
from pipelines.sources.work import ShardWork, shard_work
from pipelines.table.names import TableNames
from pipelines.table.table import Table
from pipelines.table.tasks import tasks_here, tasks_on_ray
from servers.vertex import Fault, VertexServer

pytestmark = pytest.mark.ray
# A worker that starts while nothing of its packages is in the page cache took over 60 s on two busy cores.
RUN = run_ray.RayRun(block_rows=64, rows_per_fragment=64, num_writers=1)
REASON = 'model "x" at C:\\cache: its weights differ\non this node é copy them anew. ' + "Long. " * 400


class RefusedConfig(OperatorConfig):
    """Cannot be built."""

    name: ClassVar[str] = "refused"
    built: str
    """A file that gets a line for each time."""

    def build(self) -> Operator[Any]:
        with open(self.built, "a") as file:
            file.write("once\n")
        raise ModelError(REASON)

    def output_schema(self, schema: pa.Schema) -> pa.Schema:
        return schema


class RefusingConfig(RefusedConfig):
    """Is built and then raises in its call."""

    def build(self) -> Operator[Any]:
        with contextlib.suppress(ModelError):
            super().build()
        return Refusing(self)


class Refusing(Operator[RefusingConfig]):
    def transform(self, batch: pa.Table) -> pa.Table:
        raise ModelError(REASON)


class TurnsConfig(RefusedConfig):
    """Notes how the thread that calls it takes its turns on a core, and leaves the rows as they are."""

    def build(self) -> Operator[Any]:
        return Turns(self)


class Turns(Operator[TurnsConfig]):
    def transform(self, batch: pa.Table) -> pa.Table:
        with open(self.config.built, "a") as file:
            file.write(f"{os.sched_getscheduler(0)}\n")
        raise ModelError(REASON)


class FrozenConfig(RefusedConfig):
    """Notes how many objects garbage collections pass over, and how many others there are."""

    def build(self) -> Operator[Any]:
        return Frozen(self)


class Frozen(Operator[FrozenConfig]):
    def transform(self, batch: pa.Table) -> pa.Table:
        with open(self.config.built, "a") as file:
            file.write(f"{gc.get_freeze_count()} {len(gc.get_objects())}\n")
        raise ModelError(REASON)


class LooksConfig(RefusedConfig):
    """Notes how often the process's main thread looks for signals in half a second of each call."""

    def build(self) -> Operator[Any]:
        return Looks(self)


class Looks(Operator[LooksConfig]):
    def transform(self, batch: pa.Table) -> pa.Table:
        # Until the other call has come, too.
        time.sleep(0.3)
        before = self._switches()
        time.sleep(0.5)
        with open(self.config.built, "a") as file:
            file.write(f"{self._switches() - before}\n")
        raise ModelError(REASON)

    def _switches(self) -> int:
        status = Path(f"/proc/self/task/{os.getpid()}/status").read_text()
        return int(status.partition("\nvoluntary_ctxt_switches:")[2].split()[0])


@pytest.fixture(scope="module")
def ray_data() -> Iterator[Any]:
    import ray
    import ray.data

    # Ray's processes do not have the tests on their path.
    for name in (__name__, "made.derived", "made.tables", "made.api_clients"):
        ray.cloudpickle.register_pickle_by_value(sys.modules[name])
    # More than a test needs: the actors of the one before hold theirs for up to 20 s.
    # Without it Ray joins whatever an earlier `ray start` has left a note of, and refuses the number of CPUs.
    ray.init(address="local", num_cpus=8, include_dashboard=False, log_to_driver=False, object_store_memory=100 << 20)
    run_ray._configure(ray.data.DataContext.get_current())
    with lean_data():
        yield ray.data
        # Ray Data's own actors have names.
        assert ray.util.list_named_actors(all_namespaces=True) == []
        ray.shutdown()


@pytest.fixture
def work(tmp_path: Path) -> list[ShardWork]:
    """Three shards of 100 rows."""
    path = tmp_path / "manifest.parquet"
    uris = [f"/images/{row}.jpg" for row in range(300)]
    pq.write_table(pa.table({"uri": uris}), path, row_group_size=100)
    shards = [
        Shard(number=n, path=str(path), row_groups=range(n, n + 1), first_row=100 * n, num_rows=100) for n in range(3)
    ]
    return [ShardWork(shard=s, shard_number=s.number, wanted_bits=None, num_wanted=100) for s in shards]


def read(work: list[ShardWork]) -> Any:
    return run_ray._read(Source(columns=Columns()), work, 64)


def test_small_shards_are_read_together_into_full_blocks(ray_data: Any, work: list[ShardWork]) -> None:
    blocks = list(read(work).iter_batches(batch_size=None, batch_format="pyarrow"))
    assert sorted(block.num_rows for block in blocks) == [44, 64, 64, 64, 64]
    rows = sorted((s, r) for b in blocks for s, r in zip(b["shard"].to_pylist(), b["row"].to_pylist(), strict=True))
    assert rows == [(shard, row) for shard in range(3) for row in range(100)]


def test_large_shards_are_read_side_by_side(
    ray_data: Any, work: list[ShardWork], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipelines.sources.source.READ_ROWS", 100)
    blocks = list(read(work).iter_batches(batch_size=None, batch_format="pyarrow"))
    assert sorted(block.num_rows for block in blocks) == [36, 36, 36, 64, 64, 64]


def test_ready_vectors_come_in_blocks_that_fit_each_with_its_row(
    ray_data: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipelines.sources.vectors._TASK_BYTES", 20 * DIM * 4)
    folder = open_source(SourceConfig(uri=str(write_folder(tmp_path / "v", [50, 8]))), NO_OPTIONS)
    assert isinstance(folder, VectorFolder)
    shards = [shard_work(shard, shard.number, np.ones(shard.num_rows, bool)) for shard in folder.manifest.shards]
    source = VectorSource(columns=folder.manifest.columns, dim=folder.dim, dtype=folder.dtype)
    dataset = run_ray._read(source, [each for each in shards if each is not None], 64)
    found = pa.concat_tables(dataset.iter_batches(batch_size=None, batch_format="pyarrow")).sort_by(
        [("shard", "ascending"), ("row", "ascending")]
    )
    assert found["row"].to_pylist() == [*range(50), *range(8)]
    expected = np.concatenate([vectors_of(0, 50), vectors_of(1, 8)])
    assert np.array_equal(np.array(found["vector"].to_pylist(), "f4"), expected)


def operators_at_work() -> int:
    """How many pools and kinds of tasks the latest execution had."""
    from pipelines.run.on_ray.watch import StageRows

    return len(StageRows.executor._topology) - 1


def records_of_blocks() -> int:
    """How many the driver has kept of the latest execution."""
    from pipelines.run.on_ray.watch import StageRows

    kept = [o._output_blocks_stats for o in StageRows.executor._topology if hasattr(o, "_output_blocks_stats")]
    assert len(kept) > 2
    return sum(map(len, kept))


def run(work: list[ShardWork], folder: Path, operator: OperatorConfig, at_a_time: int = 1) -> None:
    resources = Resources(num_actors=1, num_cpus=0.5, concurrent_blocks=at_a_time)
    stage = Stage(name="only", operators=(operator,), resources=resources)
    sink = Sink(names=TableNames.from_table(f"{folder}/lake/t"), vectors_schema=pa.schema([]), storage=NO_OPTIONS)
    list(run_ray.run_ray(Pipeline(source=Source(columns=Columns()), stages=(stage,), sink=sink), work, RUN))


@pytest.mark.parametrize("config", [RefusedConfig, RefusingConfig])
def test_what_a_user_must_mend_comes_back_with_its_message_alone(
    ray_data: Any, work: list[ShardWork], tmp_path: Path, config: type[RefusedConfig]
) -> None:
    built = tmp_path / "built"
    with pytest.raises(UserError) as raised:
        run(work, tmp_path, config(built=str(built)))
    assert str(raised.value) == REASON
    assert built.read_text() == "once\n", "and not nine times"


def test_actors_of_a_stage_without_a_gpu_take_long_turns(ray_data: Any, work: list[ShardWork], tmp_path: Path) -> None:
    noted = tmp_path / "noted"
    with pytest.raises(UserError):
        run(work, tmp_path, TurnsConfig(built=str(noted)))
    assert set(noted.read_text().split()) == {str(os.SCHED_BATCH)}


def test_garbage_is_not_looked_for_among_what_an_actor_was_built_with(
    ray_data: Any, work: list[ShardWork], tmp_path: Path
) -> None:
    noted = tmp_path / "noted"
    with pytest.raises(UserError):
        run(work, tmp_path, FrozenConfig(built=str(noted)))
    passed_over, others = map(int, noted.read_text().splitlines()[0].split())
    assert passed_over > 20 * others


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="Linux tells how often a thread went to sleep")
def test_an_actor_with_all_calls_at_work_does_not_look_for_signals(
    ray_data: Any, work: list[ShardWork], tmp_path: Path
) -> None:
    noted = tmp_path / "noted"
    with pytest.raises(UserError):
        run(work, tmp_path, LooksConfig(built=str(noted)), at_a_time=2)
    assert min(map(int, noted.read_text().split())) < 10, "and not fifty"


def test_tasks_on_ray_survive_a_worker_and_fill_a_column(ray_data: Any, tmp_path: Path) -> None:
    names, died = names_in(tmp_path), tmp_path / "died"
    embed(names, range(3))

    def compute(rows: pa.Table) -> pa.Array:
        if not died.exists():
            died.touch()
            os._exit(1)
        return first_half(rows)

    assert derive_column(Table(names=names), FIELD, "vector", compute, execute=tasks_on_ray).rows == 120
    assert held(names) == expected(range(3))


def test_a_pca_fitted_on_ray_is_the_one_fitted_here(
    ray_data: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipelines.derivation.fit_pca._FEWEST_ROWS", 40)
    names = names_in(tmp_path)
    embed(names, range(7))
    table = Table(names=names)
    fits = [
        fit_pca_of_table(table, table.latest().version, "vector", 3, execute=execute)
        for execute in (tasks_here, tasks_on_ray)
    ]
    here, there = ({name: each.tobytes() for name, each in fit.pca.tensors().items()} for fit in fits)
    assert here == there


def test_what_a_task_raises_comes_out_as_it_is(ray_data: Any) -> None:
    def task(number: int) -> int:
        if number == 18:
            raise ModelError(REASON)
        return number

    given = []
    with pytest.raises(ModelError) as caught:
        given += tasks_on_ray(task, range(20))
    assert str(caught.value) == REASON
    assert sorted(tasks_on_ray(task, range(18))) == list(range(18))


def test_regions_and_pixels_of_two_sizes_cross_between_pools_and_come_as_they_do_here(
    ray_data: Any, tmp_path: Path
) -> None:
    for row in range(30):
        colours = np.random.default_rng(row).integers(0, 256, (2, 2, 3), np.uint8)
        Image.fromarray(np.kron(colours, np.ones((12, 12, 1), np.uint8))).save(tmp_path / f"{row:02d}.png")
    manifest = manifest_of(SourceConfig(uri=str(tmp_path)), NO_OPTIONS, str(tmp_path / "work"))
    fetch = FetchOptions(allowed_roots=(str(tmp_path),))
    regions = GridOptions(kind="grid", rows=2, columns=2, whole=True)
    options = Options(fetch=fetch, decode=DecodeOptions(isolate=False), normalize=NormalizeOptions(), regions=regions)
    columns = [
        VectorColumn(name=column, model=describe(parse_model_name(name)), precision="float32")
        for column, name in (("vector_null", "null"), ("vector_vit", "timm:test_vit/random-0"))
    ]
    pools = (
        StageConfig(name="pre", operators=("fetch", "decode"), num_actors=1, num_cpus=0.1),
        StageConfig(name="post", operators=("embed", "normalize"), num_actors=1, num_cpus=0.1),
    )
    cluster = ClusterConfig(stages=pools)
    item = shard_work(manifest.shards[0], 0, np.ones(30, bool))
    assert item is not None
    held: list[pa.Table] = []
    for executor in ("here", "ray"):
        pipeline, _ = image_embedding(
            manifest=manifest,
            columns=columns,
            stages=arrange(operator_chain(columns, options, cluster), cluster.stages),
            names=TableNames.from_table(f"{tmp_path}/lake/{executor}"),
            images=NO_OPTIONS,
            table=NO_OPTIONS,
            layout="rows",
        )
        committer = Committer.open(pipeline.sink.names, pipeline.sink.vectors_schema, run_id="run")
        committer.load_ledger(0, 1)
        run = replace(RUN, block_rows=8, rows_per_fragment=16)
        lost = lost_nodes(pipeline.stages)
        receipts = (
            run_ray.run_ray(pipeline, [item], run, lost=lost)
            if executor == "ray"
            else run_local(pipeline, [item], cores=2, block_rows=8, rows_per_fragment=16, fragment_interval_s=1000)
        )
        assert committer.commit(list(receipts)).vectors == 30
        if executor == "ray":
            assert operators_at_work() == 4, "not: one that reads and cuts, two stages, the writers"
            assert records_of_blocks() <= 1, "4 blocks, each of every operator"
            why = lost.why()
            assert why is not None, "actors that were to be ready yet were not seen"
            assert "(pre 1 of 100, post 1 of 100)" in why
        held.append(lance.dataset(pipeline.sink.names.vectors).to_table().sort_by("region_id"))
    assert held[0].num_rows == 30 * 5
    here, there = (np.array(each["vector_vit"].to_pylist(), "f4") for each in held)
    np.testing.assert_allclose(here, there, atol=1e-3)
    here_rows, there_rows = (each.drop_columns(["vector_vit"]) for each in held)
    assert here_rows.equals(there_rows)


def lost_nodes(stages: Sequence[Stage]) -> LostNodes:
    """Of a cluster on which each pool once had a hundred actors."""
    sized = [replace(stage, resources=replace(stage.resources, num_actors=100)) for stage in stages]
    return LostNodes(stages, sized, num_writers=1, wait_s=0)


def test_the_loop_rests_while_all_actors_are_full_and_less_than_a_block_takes() -> None:
    from pipelines.run.on_ray.watch import REST_S, SETTLED_BLOCKS, rest_s

    assert rest_s(True, 100, 10.0, 1, 1) == pytest.approx(0.05)
    assert rest_s(True, 100, 10.0, 2, 2) == pytest.approx(0.1)
    assert rest_s(True, 10, 1000.0, 1, 0) == REST_S
    assert rest_s(False, 100, 10.0, 1, 1) == 0
    # How long a block takes does not show yet.
    assert rest_s(True, SETTLED_BLOCKS - 1, 10.0, 1, 1) == 0
    assert rest_s(True, 100, 10.0, 2, 3) == 0


def test_processes_share_the_rate_and_the_cap_of_an_api(ray_data: Any) -> None:
    import ray

    with contextlib.closing(VertexServer(lambda arrival: Fault(delay_s=0.1))) as server, ray_quota(LIMITS) as quota:
        assert pickle.loads(pickle.dumps(quota)).state().requests == 0
        process = ray.remote(num_cpus=1)(ask_twenty)
        done = ray.get([process.remote(quota, server.url, worker) for worker in range(3)])
        state = quota.state()
    assert sum(done) == len(server.answered) == 40
    assert (state.billed, state.capped) == (40, True)
    check_rate(server)


def test_a_quota_that_is_gone_is_an_error_and_not_a_licence(ray_data: Any) -> None:
    with ray_quota(LIMITS) as quota:
        assert quota.exchange(1, 0).count == 1
    for gone in (quota, RayQuota("never-was")):
        with pytest.raises(OSError, match="counts API requests"):
            gone.exchange(1, 0)
