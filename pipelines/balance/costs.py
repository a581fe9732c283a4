"""What one row of a run costs, as far as it is known before the run."""

from collections.abc import Sequence
from dataclasses import dataclass

from operators.regions.options import DetectorOptions, PatchesOptions, RegionOptions
from pipelines.balance.pilot import Measured
from pipelines.embedding.columns import VectorColumn
from pipelines.embedding.region_blocks import regions_an_image

DECODE_S = 2e-3
"""CPU seconds to decode and resize an image of half a megapixel, where it was not measured."""
DETECT_S = 1.0
"""CPU seconds of an object detector on one image: a guess, which is not measured before a run."""
HANDLING_S = 5e-4
"""CPU seconds a row for all that is neither decoding nor the model: hashing, copying, writing."""


@dataclass(frozen=True, kw_only=True)
class RowCosts:
    """CPU seconds of one manifest row, all its regions and models together, and the memory of its pixels."""

    decode_s: float
    forward_s: float
    pixel_bytes: int
    network_s: float = 0.0
    """Least seconds between two rows by the network, however many workers there are."""
    asked_s: float = 0.0
    """The same by an API's quota."""
    measured_rows: int = 0
    """Rows that were fetched and decoded to know; 0: `decode_s` is a guess."""

    @property
    def cpu_s(self) -> float:
        return self.decode_s + self.forward_s + HANDLING_S

    @property
    def wait_s(self) -> float:
        return max(self.network_s, self.asked_s)

    def images_per_s(self, cores: int) -> float:
        """As many as this machine can do."""
        # Python holds one thread at a time: what it does of a row in the one process is not shared by the cores.
        return 1 / max(self.cpu_s / cores, HANDLING_S, self.wait_s)

    def bound_by(self, cores: int) -> str:
        """What keeps a run here from being faster, in the words of a run's report."""
        if self.wait_s > self.cpu_s / cores:
            return "model" if self.asked_s > self.network_s else "network"
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
    pixel_bytes = passes * sum(3 * height * width for height, width in sizes)
    detector = regions if isinstance(regions, DetectorOptions) else None
    return RowCosts(
        decode_s=measured.decode_s if measured else DECODE_S,
        forward_s=passes * sum(column.forward_s or 0.0 for column in columns) + (DETECT_S if detector else 0.0),
        pixel_bytes=max(pixel_bytes, 3 * detector.image_size**2) if detector else pixel_bytes,
        network_s=max(measured.fetch_s, measured.latency_s / in_flight) if measured else 0.0,
        asked_s=60.0 / requests_per_minute if requests_per_minute else 0.0,
        measured_rows=measured.rows if measured else 0,
    )
