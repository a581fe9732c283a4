"""One quota for every worker of a run, in threads of this process. On Ray: `on_ray.test_run`, which has one running."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from made.api_clients import LIMITS, MODEL, ask_twenty, check_rate
from operators.api.options import ApiOptions
from operators.api.quota import LocalQuota
from operators.base.errors import PlanError
from operators.embed_api import api_embed_config
from pipelines.run.quota import check_pace
from pipelines.run.stage import Resources, Stage
from servers.vertex import Fault, VertexServer


@pytest.fixture
def server() -> Iterator[VertexServer]:
    server = VertexServer(lambda arrival: Fault(delay_s=0.1))
    yield server
    server.close()


def test_clients_of_one_process_share_rate_and_cap(server: VertexServer) -> None:
    quota, start = LocalQuota(LIMITS), threading.Barrier(3)
    with ThreadPoolExecutor(3) as pool:
        done = list(pool.map(lambda worker: ask_twenty(quota, server.url, worker, start), range(3)))
    assert sum(done) == len(server.answered) == 40
    assert quota.state().billed == 40
    check_rate(server)


def test_blocks_that_the_rate_lets_not_end_in_time_are_refused_with_what_fits() -> None:
    def stages(actors: int) -> list[Stage]:
        config = api_embed_config(MODEL, ApiOptions(project="p"))
        return [Stage(name="embed", operators=(config,), resources=Resources(num_actors=actors))]

    check_pace(stages(7), block_rows=128, no_progress_timeout_s=900.0)
    with pytest.raises(PlanError, match=r"2,048 s at 120 requests a minute.*block_rows=28,"):
        check_pace(stages(32), block_rows=128, no_progress_timeout_s=900.0)
    check_pace(stages(32), block_rows=28, no_progress_timeout_s=900.0)
