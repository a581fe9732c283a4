"""From pixels to vectors: the operator that runs the model."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any, ClassVar, Literal, Self

import numpy as np
import pyarrow as pa

from operators.base.arrays import (
    flatten_lists,
    is_list,
    list_field,
    pixels_to_numpy,
    rebuild_lists,
    vector_field,
    vectors_from_numpy,
)
from operators.base.columns import PIXELS, VECTOR
from operators.base.errors import ErrorClass, Failure
from operators.base.failpoints import failpoint
from operators.base.memory import in_parts
from operators.base.operator import Operator, OperatorConfig
from operators.base.rows import about_column, fail_rows, set_column
from operators.models.canaries import NUM_CANARIES, Canaries, canary_pixels, check_canaries
from operators.models.spec import Backend, BatchSize, ModelDescription, Precision
from operators.storage.redact import redact
from operators.storage.stores import NO_OPTIONS, StorageOptions


class EmbedPixelsConfig(OperatorConfig):
    """From pixels (uint8, at the model's size) to vectors (float32, as the model gives them); from lists of pixels to
    lists."""

    name: ClassVar[str] = "embed"

    model: ModelDescription
    backend: Backend = "torch"
    """What runs the model; `auto` in float32 alone, where no vector depends on it and each node may choose."""
    precision: Precision = "float32"
    emulate: bool = True
    """Whether a CPU without instructions for the precision emulates it, rather than refusing. A query is one image."""
    device: Literal["cpu", "cuda"] = "cpu"
    batch_size: BatchSize = 32
    """Images per forward pass; `auto`: a GPU's is found by trial."""
    num_threads: int | None = None
    """CPU threads of one forward pass; None leaves torch's own choice."""
    concurrency: int = 1
    """Forward passes at a time on a CPU."""
    compile: bool = False
    storage: StorageOptions = NO_OPTIONS
    """Storage settings for a weights URI."""
    canaries: Canaries | None = None
    """The model's vectors when the table was made; checked once it is loaded."""
    num_canaries: int = NUM_CANARIES
    """How many of the canaries are checked."""
    pixels: str = PIXELS
    """Column that is read."""
    keep_pixels: bool = False
    """Whether another model reads the same pixels after this one."""
    column: str = VECTOR
    """Column that is made."""

    @property
    def reads(self) -> frozenset[str]:
        return frozenset({self.pixels})

    def output_schema(self, schema: pa.Schema) -> pa.Schema:
        field = vector_field(self.model.dim, pa.float32(), self.column)
        made = list_field(field) if is_list(schema.field(self.pixels)) else field
        if not self.keep_pixels:
            schema = schema.remove(schema.get_field_index(self.pixels))
        return schema.append(made)

    def space(self, column: str) -> dict[str, Any]:
        if column != self.column:
            return {}
        spec = self.model.spec
        return {
            "family": spec.family,
            "network": self.model.network,
            "weights_sha256": self.model.weights_sha256,
            "random_seed": spec.seed,
            "quick_gelu": self.model.quick_gelu,
            "mean": list(self.model.preprocess.mean),
            "std": list(self.model.preprocess.std),
            "pooling": spec.pooling,
            "gem_power": spec.gem_power if spec.pooling == "gem" else None,
            "layer": spec.layer,
            "final_norm": spec.final_norm if spec.layer is not None else None,
            "precision": self.precision,
            "dim": self.model.dim,
            **self._rounding(),
        }

    def _rounding(self) -> dict[str, Any]:
        """In float32 all backends give the same but for rounding, and tables from before there were several tell of
        none."""
        return {} if self.precision == "float32" or self.backend == "torch" else {"backend": self.backend}

    def on_cores(self, cores: int) -> Self:
        passes = cores // self.num_threads if self.num_threads else 1
        return self.model_copy(update={"concurrency": max(1, passes)})

    def build(self) -> "Embed":
        return Embed(self)


class Embed(Operator[EmbedPixelsConfig]):
    """Holds the image tower. Thread-safe: the embedder serialises the device, Arrow work overlaps with it."""

    def __init__(self, config: EmbedPixelsConfig) -> None:
        super().__init__(config)
        # Here and not at the top: the driver declares the config and never needs torch.
        from operators.models.backends.instructions import check_native
        from operators.models.runtime import Runtime
        from operators.models.warm import image_embedder

        if not config.emulate:
            check_native(config.model.spec.name, config.precision, config.device)
        runtime = Runtime(
            backend=config.backend,
            precision=config.precision,
            device=config.device,
            batch_size=config.batch_size,
            num_threads=config.num_threads,
            concurrency=config.concurrency,
            compile=config.compile,
            storage=config.storage,
        )
        self.embedder = image_embedder(config.model, runtime)
        if config.canaries is not None:
            self._check_canaries(config.canaries)

    def _check_canaries(self, canaries: Canaries) -> None:
        """Raises `CanaryError` where this worker's libraries or hardware give other vectors."""
        from operators.models.load import device_name
        from operators.models.warm import WarmEmbedder

        config, count = self.config, self.config.num_canaries
        if isinstance(self.embedder, WarmEmbedder) and self.embedder.canaries is not None:
            vectors, device = self.embedder.canaries[:count], self.embedder.device
        else:
            vectors, device = self._embed_canaries(count), device_name(config.device) or config.device
        name, backend = config.model.spec.name, self.embedder.backend
        check_canaries(canaries, vectors, name=name, device=device, backend=backend)

    def _embed_canaries(self, count: int) -> np.ndarray:
        pixels = canary_pixels(self.config.model.preprocess, count)
        if self.config.compile:
            # A compiled model is compiled for a batch size: for the run's own, so that it is done once.
            pixels = np.resize(pixels, (max(self.embedder.batch_size, count), *pixels.shape[1:]))
            return self.embedder.embed(pixels)[:count]
        # Side by side, as the run's blocks: until the first of them, all cores but one would be idle.
        parts = np.array_split(pixels, min(self.config.concurrency, count))
        with ThreadPoolExecutor(len(parts)) as pool:
            return np.concatenate(list(pool.map(self.embedder.embed, parts)))

    def transform(self, batch: pa.Table) -> pa.Table:
        field = self.config.output_schema(batch.schema).field(self.config.column)
        column = batch[self.config.pixels]
        failpoint("embed.before")
        if not self.config.keep_pixels:
            batch = batch.drop_columns([self.config.pixels])
        if not is_list(field):
            vectors, failed = self._vectors(column)
        else:
            pixels, lengths = flatten_lists(column)
            items, failed_items = self._vectors(pixels)
            rows = np.repeat(np.arange(batch.num_rows), lengths)
            failed = {int(rows[item]): words for item, words in failed_items.items()}
            valid = np.array([row not in failed for row in range(batch.num_rows)], bool)
            vectors = rebuild_lists(items, lengths, valid)
        failpoint("embed.after")
        failures = {row: no_memory(words, self.config.column) for row, words in failed.items()}
        return fail_rows(set_column(batch, field, vectors), failures, self.config.name)

    def _vectors(self, column: pa.ChunkedArray) -> tuple[pa.Array, dict[int, str]]:
        """The vector of each row of pixels, however many make up one image: the embedder takes `batch_size` at a
        time. Null, with the error's words, where memory does not suffice for that one alone."""
        preprocess, dim = self.config.model.preprocess, self.config.model.dim
        if not len(column):
            return pa.array([], vector_field(dim, pa.float32()).type), {}
        pixels_NHWC = pixels_to_numpy(column, preprocess.height, preprocess.width)
        parts, failed = in_parts(lambda part: self.embedder.embed(pixels_NHWC[part]), len(pixels_NHWC))
        if len(parts) == 1 and not failed:
            return vectors_from_numpy(parts[0][1]), {}
        vectors_ND = np.zeros((len(pixels_NHWC), dim), np.float32)
        for part, vectors in parts:
            vectors_ND[part] = vectors
        valid = np.array([row not in failed for row in range(len(pixels_NHWC))], bool)
        return vectors_from_numpy(vectors_ND, valid), failed


def no_memory(words: str, column: str) -> Failure:
    """Of a row for which the model had no memory, alone in its batch; `words` are the library's."""
    message = about_column(column, f"the model has no memory for this image alone: {words}")
    return Failure(error_class=ErrorClass.MODEL_MEMORY, message=redact(message))
