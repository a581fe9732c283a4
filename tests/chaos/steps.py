"""What works on a table that is there: reduce, index, refresh and swap, killed at each of their steps, one by one."""

import os
from collections.abc import Sequence
from pathlib import Path

import lance

from chaos.audit import audit_table
from chaos.ledger import Ledger
from chaos.round import how_ended
from end_to_end.command import LOCAL, pixlake
from jobs.commands.options import Exit
from made.noisy_photos import SQUASHED
from made.solid_images import png_of
from made.sources import make_folder
from operators.base.failpoints import ON, ONCE, PLACES

HERE = ("--set", "cluster.executor=local")
CUT = ("--set", "cluster.block_rows=50", "--set", "cluster.rows_per_fragment=150")
GATES = ("gates.copies=3", "gates.sample=100", "gates.max_loss=1", "gates.resamples=100")
REDUCE = ("derive.added", "derive.written", "derive.commit", "derive.landed")
INDEX = ("index.trained", "index.built", "index.recorded", "index.published")
REFRESH = (
    *("refresh.compared", "refresh.delta", "refresh.failures", "refresh.vectors", "refresh.carried"),
    "refresh.applied",
)
SWAP = ("swap.begun", "swap.embedded", "swap.written", "swap.commit", "swap.noted", "swap.renamed")
FINISH = ("swap.dropped",)


class StepsError(AssertionError):
    """A command did not end as it must."""


class Steps:
    """A folder of images, a table of it, and commands on it that are killed."""

    title = "steps of reduce, index, refresh and swap"
    cluster: tuple[str, ...] = HERE
    """Where the commands work."""

    def __init__(self, folder: Path, rows: int, seed: int) -> None:
        self._folder, self._seed = folder, seed
        self._images = folder / "images"
        self._table = f"{folder}/lake/photos"
        self.ledger = Ledger(tables=1, rows=rows)
        self._wanted: dict[str, int | None] = {
            each.uri or "": each.number for each in make_folder(self._images, range(rows))
        }
        ended = pixlake("embed", f"{self._images}/", self._table, *LOCAL, *CUT)
        if ended.code != 0:
            raise StepsError(ended.err)

    def go(self) -> None:
        """Raises `StepsError` where a promise is broken."""
        for work in (self.reduced, self.indexed, self.refreshed, self.swapped):
            work()
        came = {place for _, place in self.ledger.kills.killed}
        assert came == {place for place in PLACES if place.split(".")[0] in ("derive", "index", "refresh", "swap")}

    def killed_at_each(self, places: Sequence[str], *arguments: str) -> None:
        """The command killed at each place, started again each time; at last to its end."""
        for place in places:
            done = self._folder / f"done-{place}"
            done.mkdir(exist_ok=True)
            ended = pixlake(*arguments, environment={ON: f"{place}=kill", ONCE: str(done)})
            self.ledger.starts += 1
            if (done / place).exists() and ended.code == Exit.RESUMABLE:
                self.ledger.kills.killed["driver", place] += 1
                self.ledger.ended[how_ended(ended)] += 1
            else:
                raise StepsError(f"{arguments[0]} did not come to {place}: {ended.code} {ended.err}")
            self.audit()
        ended = pixlake(*arguments)
        self.ledger.starts += 1
        self.ledger.ended[how_ended(ended)] += 1
        if ended.code != 0:
            raise StepsError(f"{arguments}: {ended.code} {ended.err}")

    def reduced(self) -> None:
        self.killed_at_each(
            REDUCE, "reduce", self._table, "short", "--truncate", "96", "--allow-untrained-truncation", *self.cluster
        )
        column = lance.dataset(f"{self._table}.lance").to_table(columns=["short"])["short"]
        self.ledger.wrong += column.null_count

    def indexed(self) -> None:
        how = ("--column", "vector", "--type", "IVF_FLAT", "--num-partitions", "4")
        self.killed_at_each(INDEX, "index", self._table, *how, *self.cluster)
        dataset = lance.dataset(f"{self._table}.lance")
        query = dataset.take([0], columns=["vector"])["vector"][0].values
        nearest = {"column": "vector", "q": query, "k": 5, "metric": "cosine", "nprobes": 4}
        found = dataset.to_table(columns=["uri"], nearest=nearest)
        self.ledger.wrong += found.num_rows != 5

    def refreshed(self) -> None:
        """New, changed, renamed, deleted and broken images, and some of the same bytes written again."""
        rows, names = len(self._wanted), sorted(self._wanted)
        for at, uri in enumerate(names[:60]):
            path, kind = Path(uri), at % 6
            if kind == 0:
                path.write_bytes(png_of(rows + at))
                self._wanted[uri] = rows + at
            elif kind == 1:
                path.unlink()
                del self._wanted[uri]
            elif kind == 2:
                moved = path.with_name(f"moved-{path.name}")
                path.rename(moved)
                self._wanted[str(moved)] = self._wanted.pop(uri)
            elif kind == 3:
                new = path.with_name(f"new-{path.name}")
                new.write_bytes(png_of(rows + at))
                self._wanted[str(new)] = rows + at
            elif kind == 4:
                path.write_text("no image")
                self._wanted[uri] = None
            else:
                os.utime(path, (2_000_000_000, 2_000_000_000))
        self._refreshing = True
        self.killed_at_each(REFRESH, "refresh", self._table, "--deleted", "drop", *self.cluster)
        self._refreshing = False
        self.audit()

    def swapped(self) -> None:
        sets = [each for value in (SQUASHED, *GATES) for each in ("--set", value)]
        self.killed_at_each(SWAP, "swap", self._table, *self.cluster, *CUT, *sets, "--insist")
        self.killed_at_each(FINISH, "swap", self._table, *self.cluster, "--finish", "--insist")
        self.audit()

    _refreshing = False

    def audit(self) -> None:
        """Also after a kill: what a reader sees then is whole."""
        lost, twice, wrong, anew = audit_table(
            self._table, self._wanted, png_of, "null", self._seed, cut_off=self._refreshing
        )
        ledger = self.ledger
        ledger.lost, ledger.twice, ledger.wrong = ledger.lost + lost, ledger.twice + twice, ledger.wrong + wrong
        ledger.vectors_made_anew += anew
        if not ledger.faultless:
            raise StepsError(f"after {list(ledger.kills.killed)[-1:]}: {ledger.line()}")
