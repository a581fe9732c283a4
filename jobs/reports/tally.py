"""Running sums of a run: what receipts report, and when work began."""

import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from operators.api.quota import QuotaState
from operators.base.counted import counted
from operators.base.errors import ErrorClass
from pipelines.commits.committer import Published
from pipelines.commits.receipts import Receipt
from pipelines.run.stage import Stage
from pipelines.run.worker import LOAD


@dataclass
class Tally:
    """Filled while a run goes on; read by the live line and by the report."""

    num_writers: int = 1
    """Writers side by side, which share the seconds spent writing."""
    created: float = field(default_factory=time.monotonic)
    first_block: float | None = None
    """When the first worker was ready and was given its first block."""
    last_commit: float | None = None
    rows: int = 0
    """Rows in receipts: work done, published or not."""
    not_attempted: int = 0
    """Rows in receipts that were left undone. Their bytes fetched, requests and loading times count like those of
    others."""
    why_not_attempted: str = ""
    """Why the latest of those were."""
    failed: int = 0
    """Failures in receipts, published or not."""
    vectors: int = 0
    """Rows published to the vector table; a task that Ray ran twice counts once."""
    failures: int = 0
    skipped: int = 0
    size_bytes: int = 0
    written_bytes: int = 0
    requests: int = 0
    reused: int = 0
    """Rows that were given the vectors of another image with the same bytes."""
    api: QuotaState | None = None
    """Requests to an API model and what they cost, once the executor has ended."""
    seconds: dict[str, float] = field(default_factory=dict)
    failure_counts: Counter[str] = field(default_factory=Counter)
    extra_counts: Counter[str] = field(default_factory=Counter)
    """Failures for want of an optional package, by the extra that brings it."""

    def flowing(self) -> None:
        if self.first_block is None:
            self.first_block = time.monotonic()

    def received(self, receipt: Receipt) -> None:
        self.flowing()
        self.rows += len(receipt.vector_keys) + len(receipt.failure_keys) + len(receipt.skipped_keys)
        self.rows += len(receipt.kept_out_keys) + len(receipt.same_keys)
        self.not_attempted += receipt.not_attempted
        self.why_not_attempted = receipt.why_not_attempted or self.why_not_attempted
        self.failed += len(receipt.failure_keys)
        self.size_bytes += receipt.size_bytes
        self.written_bytes += receipt.written_bytes
        self.requests += receipt.requests
        self.reused += receipt.reused
        for name, spent in receipt.seconds.items():
            self.seconds[name] = self.seconds.get(name, 0.0) + spent
        self.failure_counts.update(receipt.failure_counts)
        self.extra_counts.update(receipt.extra_counts)

    def published(self, wave: Published) -> None:
        self.last_commit = time.monotonic()
        self.vectors += wave.vectors
        self.failures += wave.failures
        self.skipped += wave.skipped

    def charged(self, usage: QuotaState) -> None:
        self.api = usage

    def about_extra(self, extra: str) -> str:
        """What becomes of images that need an extra, and how they are had."""
        failed = counted(self.extra_counts[extra], "image needs", "images need")
        return (
            f"{failed} an extra package that the workers do not have, and failed: pip install 'pixlake[{extra}]' on "
            f"every node, then the same command with --retry-failed {ErrorClass.UNSUPPORTED_FORMAT}"
        )

    @property
    def published_rows(self) -> int:
        return self.vectors + self.failures + self.skipped

    @property
    def seen(self) -> int:
        """Rows that came through the stages, done or not."""
        return self.rows + self.not_attempted

    @property
    def startup_seconds(self) -> float:
        return (self.first_block or time.monotonic()) - self.created

    @property
    def running_seconds(self) -> float:
        """Seconds from the first block handed to a worker to the last commit: all the work on all the rows, no
        start-up."""
        if self.first_block is None:
            return 0.0
        return max((self.last_commit or time.monotonic()) - self.first_block, 1e-3)

    def load_seconds(self, stage: str) -> float:
        """Seconds an actor of the stage took to build its operators: the mean over the rows that came through it."""
        return self.seconds.get(f"{LOAD}{stage}", 0.0) / self.seen if self.seen else 0.0

    def busiest(self, stages: tuple[Stage, ...]) -> str | None:
        """The bottleneck of the run, in a user's words; None before anything is known."""
        return bound_by(stages, self.seconds, self.num_writers)


BOUND_BY = {"fetch": "network", "decode": "decode", "crop": "decode", "detect": "detector", "write": "write"}
"""Operator -> what a user calls it; operators that are not here count as the model."""


def bound_by(stages: tuple[Stage, ...], seconds: Mapping[str, float], num_writers: int) -> str | None:
    """The operator that takes the most time in the busiest pool, in a user's words; None before any seconds are
    counted."""
    if not seconds:
        return None
    pools = {"write": seconds.get("write", 0.0) / num_writers}
    for stage in stages:
        spent = sum(seconds.get(name, 0.0) for name in stage.operator_names)
        pools[stage.name] = spent / max(1, stage.resources.num_actors * stage.resources.concurrent_blocks)
    busiest = max(pools, key=lambda name: pools[name])
    inside = [name for s in stages if s.name == busiest for name in s.operator_names] or ["write"]
    return BOUND_BY.get(max(inside, key=lambda name: seconds.get(name, 0.0)), "model")
