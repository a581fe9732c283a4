"""One round: a table of so many rows, its run killed at each start as the plan says, ended, and audited."""

import os
import random
import signal
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

from chaos.audit import audit_table
from chaos.ledger import Ledger
from chaos.nodes import KINDS, Nodes, ray_nodes
from chaos.plan import RANDOM, Fault, Plan
from chaos.victims import kill_one
from end_to_end.audit import committed_uris
from end_to_end.command import Ended, end, start
from end_to_end.processes import descendants, driver_of, kill_leftovers
from jobs.commands.options import Exit
from made.cut_photographs import photograph
from made.solid_images import png_of
from made.sources import write_manifest
from made.tables import lance_s3
from operators.base.failpoints import ON, ONCE
from servers.images import ImageServer
from servers.s3 import S3Server

MISSING = 40
"""One image of so many is not there until failures are retried."""
MOST_ENDINGS = 4
"""Starts without a fault that a run may need to end: a raylet or a head that died before may still be felt."""
_TIMEOUT_S = 600.0
SIZES = {"block_rows": 50, "rows_per_fragment": 150, "commit_interval_s": 0.2}
STAGES = [
    {"name": "preprocess", "operators": ["fetch", "decode"], "num_actors": 1, "num_cpus": 1},
    {"name": "embed", "operators": ["embed", "normalize"], "num_actors": 1, "num_cpus": 1},
]


class ChaosFoundError(AssertionError):
    """A promise was broken; says what, and how to do it again."""


class Round:
    """A plan at work in a folder of its own."""

    def __init__(self, plan: Plan, folder: Path, s3: S3Server | None) -> None:
        self.plan, self.folder = plan, folder
        self.ledger = Ledger(tables=1, rows=plan.rows)
        self.picture: Callable[[int], bytes] = png_of if plan.model == "null" else photograph
        self.server = ImageServer(self.picture)
        self._rng = random.Random(f"{plan.seed}/{plan.number}/at work")
        self._s3 = s3 if plan.store == "s3" else None
        self._nodes: Nodes | None = None
        self.table = f"{folder}/lake/photos"
        if self._s3 is not None:
            self.table = f"s3://{self._s3.bucket('chaos')}/lake/photos"
        self.options = lance_s3(self._s3.storage_options) if self._s3 is not None else None
        self._manifest = write_manifest(
            folder / "manifest.parquet", self.server.expected(range(plan.rows)), row_group_size=max(1, plan.rows // 3)
        )
        self._committed: set[str] = set()
        self._seen: set[str] = set()
        self._starts = 0

    def go(self) -> Ledger:
        """Raises `ChaosFoundError`."""
        try:
            if self.plan.executor == "nodes":
                with ray_nodes() as self._nodes:
                    self._go()
            else:
                self._go()
        finally:
            self.server.close()
        return self.ledger

    def _go(self) -> None:
        self.server.missing = set(range(7, self.plan.rows, MISSING))
        for faults in self.plan.starts:
            self._start(faults)
        self._to_the_end()
        self._audit(self.server.missing)
        if self.plan.retried:
            self.server.missing = set()
            for fault in self.plan.retried:
                self._start((fault,), "--retry-failed", retried=True)
            self._to_the_end("--retry-failed", retried=True)
            self._audit(set())

    def _to_the_end(self, *arguments: str, retried: bool = False) -> None:
        for _ in range(MOST_ENDINGS):
            ended = self._start((), *arguments, retried=retried)
            if ended.code == 0:
                return
        raise ChaosFoundError(
            f"not complete after {MOST_ENDINGS} starts without a fault, but {ended.code}: {ended.out} "
            f"{ended.err[-2000:]}\n{self.plan.replay}"
        )

    def _start(self, faults: tuple[Fault, ...], *arguments: str, retried: bool = False) -> Ended:
        """One start with its faults, to whatever end; what it had before, it must not fetch again."""
        self._starts += 1
        self.ledger.starts += 1
        done = self.folder / f"done-{self._starts:03d}"
        done.mkdir()
        self.server.forget()
        environment = {ONCE: str(done), ON: ";".join(fault.text for fault in faults if fault.place != RANDOM)}
        if self._nodes is not None:
            self._nodes.whole()
            environment |= self._nodes.token
        command = ("embed", self._manifest, self.table, "--config", str(self._config()), "--json", *arguments)
        process = start(*command, environment=environment)
        struck: list[Fault] = []
        for fault in faults:
            if fault.place == RANDOM:
                self.server.act_at(fault.at, lambda fault=fault: self._strike(fault, process, struck))
        below: dict[int, str] = {}
        watcher = threading.Thread(target=_watch, args=(process, below), daemon=True)
        watcher.start()
        try:
            ended = end(process, _TIMEOUT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            said = end(process).err[-4000:]
            raise ChaosFoundError(f"a start did not end in {_TIMEOUT_S:g} s: {said}\n{self.plan.replay}") from None
        finally:
            process.kill()
            watcher.join()
            kill_leftovers(below)
        for fault in faults:
            if (done / fault.place).exists() or any(each is fault for each in struck):
                self.ledger.kills.killed[fault.who, fault.place] += 1
            else:
                self.ledger.kills.missed += 1
        self._account(ended, retried)
        return ended

    def _strike(self, fault: Fault, process: "subprocess.Popen[str]", struck: list[Fault]) -> None:
        """Kill at a random time; it took effect where the run was still on."""
        if process.poll() is not None:
            return
        if fault.who == "driver":
            # Itself, or the process that watches it, with which it goes.
            os.kill(self._rng.choice([process.pid, driver_of(process)]), signal.SIGKILL)
            hit = True
        elif fault.who in ("raylet", "node", "head"):
            assert self._nodes is not None
            hit = self._lose(self._nodes, fault.who)
        else:
            # On a cluster that was there, the workers are below this process and not below the driver.
            hit = kill_one(fault.who, os.getpid() if self._nodes is not None else process.pid, self._rng)
        if hit:
            struck.append(fault)

    def _lose(self, nodes: Nodes, who: str) -> bool:
        """A node, which another takes the place of, or the head."""
        if who == "head":
            return nodes.kill_head()
        hit = nodes.kill_raylet(self._rng) if who == "raylet" else nodes.lose_node(self._rng)
        nodes.whole()
        return hit

    def _account(self, ended: Ended, retried: bool) -> None:
        self.ledger.ended[how_ended(ended)] += 1
        self.server.release()
        requested = self.server.requested
        if not retried:
            self.ledger.committed_fetched_again += len(self._committed & set(requested))
            self.ledger.recomputed += requested.total() - len(set(requested) - self._seen)
            self._seen |= set(requested)
            self._committed = committed_uris(self.table, self.options)
        if ended.code not in (Exit.COMPLETE, Exit.FAILED, Exit.RESUMABLE, -signal.SIGKILL):
            raise ChaosFoundError(f"a start ended with {ended.code}: {ended.err[-2000:]}\n{self.plan.replay}")
        if "Traceback (most recent call last)" in ended.err:
            raise ChaosFoundError(f"a traceback: {ended.err[-2000:]}\n{self.plan.replay}")

    def _audit(self, missing: set[int]) -> None:
        wanted = {self.server.uri(number): None if number in missing else number for number in range(self.plan.rows)}
        lost, twice, wrong, anew = audit_table(
            self.table, wanted, self.picture, self.plan.model, self.plan.seed, self.options
        )
        ledger = self.ledger
        ledger.lost, ledger.twice, ledger.wrong = ledger.lost + lost, ledger.twice + twice, ledger.wrong + wrong
        ledger.vectors_made_anew += anew
        if not ledger.faultless:
            raise ChaosFoundError(f"{self.plan.title}: {ledger.line()}\n{self.plan.replay}")

    def _config(self) -> Path:
        cluster: dict[str, Any] = {**SIZES, "executor": "local" if self.plan.executor == "local" else "ray"}
        if self.plan.executor != "local":
            cluster["stages"] = STAGES
        if self._nodes is not None:
            cluster["address"] = self._nodes.address
            cluster["stages"] = [
                {**stage, "custom_resources": {kind: 1}} for stage, kind in zip(STAGES, KINDS, strict=True)
            ]
        config = {
            "model": {"name": self.plan.model},
            "cluster": cluster,
            "fetch": {"allowed_cidrs": ["127.0.0.0/8"]},
            "storage": self._s3.storage_options if self._s3 is not None else {},
        }
        path = self.folder / "config.yaml"
        path.write_text(yaml.safe_dump(config))
        return path


def how_ended(ended: Ended) -> str:
    if ended.code == Exit.FAILED:
        # Allowed after the loss of a node; whoever reads the ledger should know why.
        return f"with exit code 1 ({' '.join((ended.out or ended.err).split())[-200:]})"
    return "with its watcher" if ended.code == -signal.SIGKILL else f"with exit code {ended.code}"


def _watch(process: "subprocess.Popen[str]", below: dict[int, str]) -> None:
    """Note what runs below a command while it is there: once it is killed, its children are nobody's."""
    while process.poll() is None:
        below.update(descendants(process.pid))
        time.sleep(0.2)
