"""One stage at work: its operators built, applied in order, and timed. The same object serves both executors."""

import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pyarrow as pa

from operators.columns import SECONDS_PREFIX
from pipelines.stage import Stage


class StageWorker:
    """Called with a block, gives the block after all operators of the stage.

    Each operator adds `seconds_<name>`: its wall time for the block, shared equally by the block's rows, so that
    the sum over rows is the time spent whatever blocks are cut or joined later.
    """

    def __init__(self, stage: Stage) -> None:
        # Side by side: while the model loads, the process that decodes starts.
        with ThreadPoolExecutor(len(stage.operators)) as pool:
            self.operators = list(pool.map(lambda config: config.build(), stage.operators))

    def __call__(self, block: pa.Table) -> pa.Table:
        for operator in self.operators:
            started = time.perf_counter()
            block = operator(block)
            block = add_seconds(block, operator.config.name, time.perf_counter() - started)
        return block

    def close(self) -> None:
        for operator in self.operators:
            operator.close()


def add_seconds(block: pa.Table, operator: str, seconds: float) -> pa.Table:
    share = np.full(block.num_rows, seconds / max(1, block.num_rows), np.float32)
    return block.append_column(pa.field(SECONDS_PREFIX + operator, pa.float32()), pa.array(share))
