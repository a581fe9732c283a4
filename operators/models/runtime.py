"""How a model is run on a worker."""

from dataclasses import dataclass

from operators.models.spec import Backend, BatchSize, Precision
from operators.storage.stores import NO_OPTIONS, StorageOptions


@dataclass(frozen=True, kw_only=True)
class Runtime:
    """How a model is run on a worker. Only the precision can change a vector, and in reduced precision the backend."""

    backend: Backend = "torch"
    precision: Precision = "float32"
    device: str = "cpu"
    batch_size: BatchSize = 32
    """Images per forward pass; `auto`: a GPU's is found by trial."""
    num_threads: int | None = None
    """CPU threads of one forward pass; None leaves the library's own choice."""
    concurrency: int = 1
    """Forward passes at a time on a CPU; a GPU has one."""
    compile: bool = False
    storage: StorageOptions = NO_OPTIONS
    """Storage settings for a weights URI."""

    @property
    def images_per_pass(self) -> int:
        """The batch size where there is no trial, as on CPUs."""
        return 32 if self.batch_size == "auto" else self.batch_size
