"""Clients of an API that share a quota, and the pace at which their requests may come."""

import threading

from operators.api.client import ApiClient
from operators.api.options import ApiOptions
from operators.api.quota import Quota, QuotaLimits
from operators.api.slots import NotAttemptedError
from operators.api.vertex import API
from operators.fetching.attempt import Attempts
from operators.models.load import describe
from operators.models.spec import parse_model_name
from servers.vertex import VertexServer

MODEL = describe(parse_model_name("vertex:multimodalembedding@001/128"))
PER_MINUTE = 600.0
STALL_S = 0.5
"""What a busy machine may hold one request up, and with it all that come together then."""
LIMITS = QuotaLimits(requests_per_minute=PER_MINUTE, max_images=40)


def ask_twenty(quota: Quota, url: str, worker: int, start: threading.Barrier | None = None) -> int:
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
