"""Which of a wave's fragments may be published, given what is committed already."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from lance.fragment import FragmentMetadata

from pipelines.ledger.ledger import Ledger
from pipelines.table.errors import RefusedError
from pipelines.table.positions import PositionSet


@dataclass(frozen=True)
class Accepted:
    """Fragments to publish together, and the position keys they hold."""

    fragments: list[FragmentMetadata]
    keys: np.ndarray


class Wave:
    """The fragments of a wave that may be published. A fragment is published whole, with all its positions, or not at
    all."""

    def __init__(self, ledger: Ledger) -> None:
        self.repeated = 0
        self.rejected = 0
        self._taken = PositionSet()
        self._shards = range(ledger.first_shard, ledger.first_shard + ledger.num_shards)

    def take(
        self,
        parts: Sequence[tuple[str, np.ndarray]],
        done: Callable[[np.ndarray], np.ndarray],
        wanted: Callable[[np.ndarray], np.ndarray],
    ) -> Accepted:
        """The parts (fragments as JSON, positions) whose positions are all `wanted` and new to the wave."""
        fragments: list[FragmentMetadata] = []
        accepted = [np.zeros(0, np.int64)]
        for text, keys in parts:
            if not len(keys):
                continue
            self._check_shards(keys)
            taken = self._taken.contains(keys)
            if (wanted(keys) & ~taken).all():
                self._taken.add(keys)
                accepted.append(keys)
                fragments += [FragmentMetadata.from_json(json.dumps(each)) for each in json.loads(text)]
            elif (done(keys) | taken).all():
                self.repeated += len(keys)
            else:
                self.rejected += len(keys)
        return Accepted(fragments, np.concatenate(accepted))

    def _check_shards(self, keys: np.ndarray) -> None:
        first, last = int(keys[0]) >> 32, int(keys[-1]) >> 32
        if first not in self._shards or last not in self._shards:
            raise RefusedError(
                f"a receipt holds shards {first} to {last}, the ledger was read for {self._shards.start} to "
                f"{self._shards.stop - 1}; call load_ledger for the manifest's shards first"
            )
