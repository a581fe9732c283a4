"""One quota for every worker of a run, in threads of this process and in processes of Ray."""

import pickle
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from operators.api.client import ApiClient
from operators.api.options import ApiOptions
from operators.api.quota import LocalQuota, Quota, QuotaLimits
from operators.api.slots import NotAttemptedError
from operators.api.vertex import API
from operators.base.errors import PlanError
from operators.embed_api import api_embed_config
from operators.fetching.attempt import Attempts
from operators.models.load import describe
from operators.models.spec import parse_model_name
from pipelines.run.quota import RayQuota, check_pace, ray_quota
from pipelines.run.stage import Resources, Stage
from servers.vertex import Fault, VertexServer

MODEL = describe(parse_model_name("vertex:multimodalembedding@001/128"))
PER_MINUTE = 600.0
STALL_S = 0.5
"""What a busy machine may hold one request up, and with it all that come together then."""
LIMITS = QuotaLimits(requests_per_minute=PER_MINUTE, max_images=40)


@pytest.fixture
def server() -> Iterator[VertexServer]:
    server = VertexServer(lambda arrival: Fault(delay_s=0.1))
    yield server
    server.close()


def work(quota: Quota, url: str, worker: int, start: threading.Barrier | None = None) -> int:
    """Twenty requests, eight at a time; gives how many were answered."""
    client = ApiClient(MODEL, ApiOptions(project="p", endpoint=url, max_concurrency=8), quota)
    if start:
        start.wait()
    asked = [client.ask(API.text_request(f"colour {worker} {n} 0", MODEL.dim), Attempts()) for n in range(20)]
    done = 0
    for answer in asked:
        try:
            answer.result()
            done += 1
        except NotAttemptedError:
            pass
    client.settle()
    client.close()
    return done


def check_rate(server: VertexServer) -> None:
    """No window of 2.5 s has more than its share and a stall's, and all take as long as they should but for one."""
    times = sorted(arrival.at for arrival in server.arrivals)
    busiest = max(sum(start <= at < start + 2.5 for at in times) for start in times)
    assert busiest <= (2.5 + STALL_S) * PER_MINUTE / 60 + 1
    assert times[-1] - times[0] > (len(times) - 1) * 60 / PER_MINUTE - STALL_S


def test_clients_of_one_process_share_rate_and_cap(server: VertexServer) -> None:
    quota, start = LocalQuota(LIMITS), threading.Barrier(3)
    with ThreadPoolExecutor(3) as pool:
        done = list(pool.map(lambda worker: work(quota, server.url, worker, start), range(3)))
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


@pytest.fixture(scope="module")
def ray() -> Iterator[Any]:
    import ray

    # Ray's processes do not have the tests on their path.
    ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])
    ray.init(num_cpus=3, include_dashboard=False, log_to_driver=False, object_store_memory=100 << 20)
    yield ray
    ray.shutdown()


@pytest.mark.ray
def test_processes_on_ray_share_rate_and_cap(ray: Any, server: VertexServer) -> None:
    with ray_quota(LIMITS) as quota:
        assert pickle.loads(pickle.dumps(quota)).state().requests == 0
        process = ray.remote(num_cpus=1)(work)
        done = ray.get([process.remote(quota, server.url, worker) for worker in range(3)])
        state = quota.state()
    assert sum(done) == len(server.answered) == 40
    assert (state.billed, state.capped) == (40, True)
    check_rate(server)


@pytest.mark.ray
def test_a_quota_that_is_gone_is_an_error_and_not_a_licence(ray: Any) -> None:
    with ray_quota(LIMITS) as quota:
        assert quota.exchange(1, 0).count == 1
    for gone in (quota, RayQuota("never-was")):
        with pytest.raises(OSError, match="counts API requests"):
            gone.exchange(1, 0)
