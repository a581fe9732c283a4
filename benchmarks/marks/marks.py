"""The marks: what Pixlake is held to, each a ratio of two things measured side by side."""

from dataclasses import dataclass, field
from typing import Any, Literal


@dataclass(frozen=True, kw_only=True)
class Mark:
    name: str
    """Its number, and a letter where it has several parts."""
    what: str
    wanted: float
    bound: Literal["<=", ">="] = "<="
    unit: str = ""
    """Of a mark that is no ratio."""

    @property
    def number(self) -> str:
        return self.name.rstrip("abc")

    def met_by(self, value: float) -> bool:
        return value <= self.wanted if self.bound == "<=" else value >= self.wanted


MARKS = (
    Mark(name="1", what="ViT-B/32 float32, whole process, over the plain loop", wanted=0.85),
    Mark(name="2a", what="the same over Daft", wanted=0.75),
    Mark(name="2b", what="the same over Ray Data's own recipe", wanted=0.45),
    Mark(name="3", what="end to end on Ray over the bare limit, ViT-B/32", wanted=0.95, bound=">="),
    Mark(name="4a", what="the same, efficientnet-lite0", wanted=0.92, bound=">="),
    Mark(name="4b", what="the same, null model", wanted=0.85, bound=">="),
    Mark(name="5", what="decode + resize + crop on one core over open_clip's transform", wanted=2.6, bound=">="),
    Mark(name="6", what="efficientnet-lite0 forward over eager float32 timm", wanted=3.0, bound=">="),
    Mark(name="7", what="one photograph, efficientnet-lite0, whole process, over the imports", wanted=1.3),
    Mark(name="8a", what="`search --image`, whole process, over the imports", wanted=0.6),
    Mark(name="8b", what="a second query beside its forward pass", wanted=60, unit="ms"),
    Mark(name="9", what="start-up on Ray over Ray's own and one load of the model", wanted=1.3),
    Mark(name="10", what="`make demo` over the imports", wanted=6.0),
    Mark(name="11a", what="peak memory of all processes at 10 times the rows", wanted=1.03),
    Mark(name="11b", what="peak memory of the driver at 10 times the rows", wanted=1.03),
    Mark(name="12a", what="throughput with 150 ms added to each GET", wanted=0.95, bound=">="),
    Mark(name="12b", what="the same, and 1 % of answers 503", wanted=0.93, bound=">="),
    Mark(name="13a", what="a finished job again", wanted=2.0, unit="s"),
    Mark(name="13b", what="`search --id` of its table", wanted=2.0, unit="s"),
    Mark(name="13c", what="`describe` of its table", wanted=2.0, unit="s"),
    Mark(name="14", what="throughput, waves every 10 s over one commit at the end", wanted=0.99, bound=">="),
    Mark(name="15a", what="a refresh of 1 % changes over embedding anew, beyond start-up", wanted=0.05),
    Mark(name="15b", what="a refresh of no changes over the same", wanted=0.01),
    Mark(name="16a", what="a student's recall@10 of efficientnet-lite0's neighbours", wanted=0.5, bound=">="),
    Mark(name="16b", what="its forward pass over efficientnet-lite0's, images a second", wanted=4.0, bound=">="),
)
"""`the imports` are `python -c "import torch, timm"`."""


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What was measured for one mark."""

    value: float
    """Of the best of each side."""
    median: float | None = None
    """The same of the medians, where there were several rounds."""
    note: str = ""
    faults: tuple[str, ...] = ()
    """Why the mark is not met whatever the value: vectors that differ, rows that are lost."""
    figures: dict[str, Any] = field(default_factory=dict)
    """What it was made of, JSON-ready."""
