"""What one row of a run costs, as far as it is known before the run."""

from collections.abc import Sequence
from dataclasses import dataclass

from operators.regions.options import PatchesOptions, RegionOptions
from pipelines.balance.pilot import Measured
from pipelines.embedding.columns import VectorColumn
from pipelines.embedding.region_blocks import regions_an_image

DECODE_S = 2e-3
"""CPU seconds to decode and resize an image of half a megapixel, where it was not measured."""
HANDLING_S = 5e-4
"""CPU seconds a row for all that is neither decoding nor the model: hashing, copying, writing."""


@dataclass(frozen=True, kw_only=True)
class RowCosts:
    """CPU seconds of one manifest row, all its regions and models together, and the memory of its pixels."""

    decode_s: float
    forward_s: float
    pixel_bytes: int
    wait_s: float = 0.0
    """Least seconds between two rows, however many workers there are: of the network, or of an API's quota."""
    asked_s: float = 0.0
    """Those of `wait_s` that are of an API's quota."""
    bound_elsewhere: str = "network"
    """What `wait_s` is of."""
    measured_rows: int = 0
    """Rows that were fetched and decoded to know; 0: `decode_s` is a guess."""

    @property
    def cpu_s(self) -> float:
        return self.decode_s + self.forward_s + HANDLING_S

    def images_per_s(self, cores: int) -> float:
        """As many as this machine can do."""
        # Python holds one thread at a time: what it does of a row in the one process is not shared by the cores.
        return 1 / max(self.cpu_s / cores, HANDLING_S, self.wait_s)

    def bound_by(self, cores: int) -> str:
        """What keeps a run here from being faster, in the words of a run's report."""
        if self.wait_s > self.cpu_s / cores:
            return self.bound_elsewhere
        return "decode" if self.decode_s > self.forward_s else "model"


def row_costs(
    columns: Sequence[VectorColumn],
    regions: RegionOptions | None,
    *,
    requests_per_minute: float | None = None,
    measured: Measured | None = None,
    in_flight: int = 1,
) -> RowCosts:
    """A model without a measured forward pass counts as none: the null model, and those of a provider, whose
    `requests_per_minute` are given. `measured` are the job's first rows; so many rows are fetched `in_flight`."""
    parts = regions_an_image(regions) if regions is not None else 1
    passes = 1 if isinstance(regions, PatchesOptions) else parts
    sizes = {(column.model.preprocess.height, column.model.preprocess.width) for column in columns}
    asked_s = 60.0 / requests_per_minute if requests_per_minute else 0.0
    network_s = max(measured.fetch_s, measured.latency_s / in_flight) if measured else 0.0
    return RowCosts(
        decode_s=measured.decode_s if measured else DECODE_S,
        forward_s=passes * sum(column.forward_s or 0.0 for column in columns),
        pixel_bytes=passes * sum(3 * height * width for height, width in sizes),
        wait_s=max(asked_s, network_s),
        asked_s=asked_s,
        bound_elsewhere="model" if asked_s > network_s else "network",
        measured_rows=measured.rows if measured else 0,
    )
