"""Reduce, refresh and swap of one table on a Ray that they start, their workers killed: each ends by itself."""

from collections.abc import Sequence

from chaos.plan import IN_WORKERS
from chaos.round import how_ended
from chaos.steps import CUT, Steps, StepsError
from end_to_end.command import pixlake
from operators.base.failpoints import ON, ONCE

OF_THE_RUN = (
    "decode.row",
    "decode.after",
    "embed.before",
    "embed.after",
    "write.before",
    "write.between",
    "receipt.before",
)
KILLED = {
    "reduce": ("derive.written",),
    "refresh": OF_THE_RUN,
    "swap": (*OF_THE_RUN, "swap.written"),
}
"""Verb -> the failpoints at which its workers are killed, once each."""


class OnRay(Steps):
    """What works on a table, with workers that die."""

    title = "workers of reduce, refresh and swap on Ray"
    cluster = (
        *("--set", "cluster.executor=ray", "--set", "cluster.num_cpus=2"),
        *("--set", "cluster.object_store_bytes=150000000", *CUT),
    )

    def go(self) -> None:
        """Raises `StepsError` where a promise is broken."""
        for work in (self.reduced, self.refreshed, self.swapped):
            work()

    def killed_at_each(self, places: Sequence[str], *arguments: str) -> None:
        """The command once, with a worker killed at each failpoint; `places` are those of its driver."""
        verb = arguments[0]
        killed = () if "--finish" in arguments else KILLED[verb]
        done = self._folder / f"done-{verb}"
        done.mkdir(exist_ok=True)
        on = {ON: ";".join(f"{place}=kill" for place in killed), ONCE: str(done)} if killed else {}
        ended = pixlake(*arguments, environment=on)
        self.ledger.starts += 1
        self.ledger.ended[how_ended(ended)] += 1
        if ended.code != 0:
            raise StepsError(f"{arguments}: {ended.code} {ended.err}")
        for place in killed:
            if not (done / place).exists():
                raise StepsError(f"{verb}: no worker came to {place}")
            self.ledger.kills.killed[IN_WORKERS.get(place, "worker on the table"), f"{verb}: {place}"] += 1
        self.audit()
