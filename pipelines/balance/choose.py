"""Which executor runs a job, and in blocks of how many rows, by what a row costs. Pure arithmetic."""

from dataclasses import dataclass
from typing import Literal

from pipelines.balance.costs import RowCosts
from pipelines.run.cluster import ClusterConfig

SMALL_S = 300.0
"""Up to so many seconds a job runs in its own process: Ray's start and its workers' imports (15 s and more) would be a
twentieth of it or more."""
BLOCK_S = {"local": 1.0, "ray": 3.0}
"""Work of one core in a block, by executor. Each costs Ray 30 ms of its own processes, and longer ones leave cores idle
at the end: with EfficientNet-Lite0 on two cores, driver, raylet, reader and writer took 7.5 % of a core in blocks of 48
rows and 3.5 % of 192, and the stage that embeds did 136 and 140 images a second."""
ASKED_S = 1.0
"""Requests of a block to a provider with a quota, in seconds of that."""
BLOCKS_A_CORE = 16
"""A short job is cut finer, so that its end does not wait for one core."""
LEAST_ROWS, MOST_ROWS = 8, 512
LIGHT_ROWS = 2048
"""Most rows of a block that is handed over on Ray without pixels or images' bytes: with the null model two cores did
0.79 and 0.78 of their bare limit in blocks of 512 rows, 0.82 and 0.86 of 1,024, and 0.83 of 2,048."""
PASS_ROWS = 16
"""Rows of a forward pass on a CPU, of which a block has a whole number: 19 rows would be a pass of 16 and one of 3."""
PACKED_ROWS = 128
"""Least rows of a block out of a tar: those of one block are read with one request."""
BLOCK_BYTES = {"local": 24 << 20, "ray": 96 << 20}
"""Most memory of a block's pixels, by executor. Where handing a block over costs nothing, small ones are still in a
core's cache when they are read: the null model did 1,320 and 1,350 images a second in blocks of 512 rows and 1,440 and
1,490 of 128; on Ray 1,210 and 1,320 of 512, 910 and 1,110 of 128."""


@dataclass(frozen=True, kw_only=True)
class Choice:
    """What was left to be chosen."""

    executor: Literal["ray", "local"]
    block_rows: int
    seconds: float
    """About how long the job takes on this machine's CPUs."""

    def why(self, cluster: ClusterConfig) -> str:
        """The executor and the reason for it, in a user's words."""
        if cluster.executor != "auto":
            return f"{self.executor}, as cluster.executor says"
        if cluster.address is not None:
            return f"ray, as cluster.address is {cluster.address}"
        work = f"about {self.seconds:,.0f} s of work on this machine"
        if self.executor == "local":
            return f"local (in this process), for {work}; Ray is started for more than {SMALL_S:g}"
        return f"ray, for {work}, more than {SMALL_S:g}"


def choose(cluster: ClusterConfig, costs: RowCosts, rows: int, *, packed: bool = False, light: bool = False) -> Choice:
    """`rows` are those of the job, `packed` in tars or not; `light`: neither images' bytes nor pixels go from one stage
    to another, and none has all pixels of a block at once. What the configuration says is taken as it is."""
    seconds = rows / costs.images_per_s(cluster.cores_here)
    if cluster.executor != "auto":
        executor = cluster.executor
    else:
        executor = "local" if cluster.address is None and seconds <= SMALL_S else "ray"
    block_rows = (
        cluster.block_rows
        if cluster.block_rows != "auto"
        else _block_rows(cluster, costs, rows, PACKED_ROWS if packed else LEAST_ROWS, executor, light)
    )
    return Choice(executor=executor, block_rows=block_rows, seconds=seconds)


def _block_rows(cluster: ClusterConfig, costs: RowCosts, rows: int, least: int, executor: str, light: bool) -> int:
    block_s = BLOCK_S[executor]
    # Of a cluster that is there already the cores are not known, nor does a short job matter.
    if cluster.address is None:
        block_s = min(block_s, rows * costs.cpu_s / (cluster.cores_here * BLOCKS_A_CORE))
    if costs.asked_s > costs.cpu_s:
        # What a killed worker had asked a provider for is asked and paid for again.
        block_s = min(block_s, ASKED_S)
    wanted = max(int(block_s / max(costs.cpu_s, costs.asked_s)), least)
    if light and executor == "ray":
        # Nothing of a block counts before all of it is there; but hundreds of requests are to be under way.
        over_network = int(block_s / costs.network_s) if costs.network_s else LIGHT_ROWS
        wanted = min(wanted, LIGHT_ROWS, max(over_network, MOST_ROWS))
    else:
        wanted = max(1, min(wanted, MOST_ROWS, BLOCK_BYTES[executor] // max(costs.pixel_bytes, 1)))
    return wanted - wanted % PASS_ROWS if wanted > PASS_ROWS else wanted
