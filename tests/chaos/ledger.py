"""What a chaos run has done: faults injected and those that took effect, by kind and place; rows, and what became of
them."""

from collections import Counter
from dataclasses import dataclass, field

from nights.kills import Ledger as Kills


@dataclass
class Ledger:
    """Of one round, or the sum of several. `kills.missed` are faults that were injected without effect."""

    kills: Kills = field(default_factory=Kills)
    tables: int = 0
    starts: int = 0
    rows: int = 0
    recomputed: int = 0
    """Images that were fetched a second time, for whatever reason; a retry of failures is none."""
    lost: int = 0
    twice: int = 0
    wrong: int = 0
    """Rows that are not what they must be."""
    committed_fetched_again: int = 0
    """Rows that a table had when a run was started, and that it fetched all the same."""
    vectors_made_anew: int = 0
    """Vectors that the auditor has computed from the images' bytes."""
    ended: Counter[str] = field(default_factory=Counter)
    """How starts ended."""

    @property
    def injected(self) -> int:
        return self.kills.total + self.kills.missed

    @property
    def faultless(self) -> bool:
        return not (self.lost or self.twice or self.wrong or self.committed_fetched_again)

    def add(self, other: "Ledger") -> None:
        self.kills.killed.update(other.kills.killed)
        self.kills.missed += other.kills.missed
        self.ended.update(other.ended)
        for name in ("tables", "starts", "rows", "recomputed", "lost", "twice", "wrong"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.committed_fetched_again += other.committed_fetched_again
        self.vectors_made_anew += other.vectors_made_anew

    def line(self) -> str:
        return (
            f"{self.kills.total} of {self.injected} faults took effect; {self.starts} starts, {self.rows:,} rows, "
            f"{self.recomputed:,} recomputed, {self.lost} lost, {self.twice} twice, {self.wrong} wrong, "
            f"{self.committed_fetched_again} committed and fetched again; {self.vectors_made_anew:,} vectors made anew"
        )

    def lines(self) -> list[str]:
        who = Counter[str]()
        for (each, _), count in self.kills.killed.items():
            who[each] += count
        return [
            f"{self.tables} tables: {self.line()}",
            f"by kind: {', '.join(f'{count} {each}' for each, count in sorted(who.items()))}",
            f"starts ended: {', '.join(f'{count} {how}' for how, count in sorted(self.ended.items()))}",
            *self.kills.lines(),
        ]
