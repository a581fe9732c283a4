"""A local server that speaks Vertex AI's multimodal embeddings as documented, errors included, and notes what it got.

Vectors are a function of the decoded JPEG alone, so a mix-up of rows shows.
"""

import asyncio
import base64
import io
import json
import re
import ssl
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from aiohttp import web
from PIL import Image

from servers.served import Served

DIMS = (128, 256, 512, 1408)
_PATH = re.compile(r"/v1/projects/([^/]+)/locations/([^/]+)/publishers/google/models/multimodalembedding@001:predict")
_GRID = 4


@dataclass(frozen=True)
class Arrival:
    """One request, as it came in."""

    at: float
    """`time.monotonic()`."""
    connection: tuple[str, int]
    project: str
    dim: int
    text: str | None
    jpeg: bytes
    pixels: np.ndarray
    """(H, W, 3) uint8; empty for a text."""
    authorization: str | None
    tries: int
    """How often the same instance has come in, this time included."""


@dataclass(frozen=True)
class Fault:
    """What to do instead of answering well."""

    status: int = 200
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    delay_s: float = 0.0
    drop: bool = False
    """Close the connection without a byte."""


def error(status: int, name: str, message: str, headers: dict[str, str] | None = None) -> Fault:
    """The documented body of an error."""
    body = {"error": {"code": status, "message": message, "status": name}}
    return Fault(status=status, body=json.dumps(body).encode(), headers=headers or {})


Act = Callable[[Arrival], Fault | None]


class VertexServer(Served):
    """`act` decides, request by request, on a `Fault`, or None for a good answer. Runs in a thread."""

    def __init__(self, act: Act = lambda arrival: None, tls: ssl.SSLContext | None = None) -> None:
        self.act = act
        self.arrivals: list[Arrival] = []
        self.answered: list[Arrival] = []
        """What got a vector with status 200: what a provider would charge for."""
        self._tries: Counter[str] = Counter()
        super().__init__(tls)

    @property
    def connections(self) -> int:
        return len({arrival.connection for arrival in self.arrivals})

    async def answer(self, request: web.Request) -> web.StreamResponse:
        try:
            arrival = self._arrival(request, await request.read())
        except (AssertionError, KeyError, ValueError, TypeError, OSError) as wrong:
            return _response(error(400, "INVALID_ARGUMENT", f"not as documented: {wrong!r}"))
        self.arrivals.append(arrival)
        fault = self.act(arrival)
        if fault is not None:
            await asyncio.sleep(fault.delay_s)
            if fault.drop and request.transport:
                request.transport.close()
            if fault.status != 200 or fault.body or fault.drop:
                return _response(fault)
        self.answered.append(arrival)
        return web.json_response(answer_of(arrival))

    def _arrival(self, request: web.Request, body: bytes) -> Arrival:
        at, found = time.monotonic(), _PATH.fullmatch(request.path)
        assert found, request.path
        assert (request.method, request.content_type) == ("POST", "application/json"), request.method
        asked = json.loads(body)
        assert asked.keys() == {"instances", "parameters"}, asked.keys()
        assert asked["parameters"].keys() == {"dimension"}, asked["parameters"]
        [instance] = asked["instances"]
        assert asked["parameters"]["dimension"] in DIMS, asked["parameters"]
        text, jpeg, pixels = instance.get("text"), b"", np.zeros((0, 0, 3), np.uint8)
        if text is None:
            assert instance.keys() == {"image"}, instance.keys()
            assert instance["image"].keys() <= {"bytesBase64Encoded", "mimeType"}, instance["image"].keys()
            jpeg = base64.b64decode(instance["image"]["bytesBase64Encoded"], validate=True)
            pixels = np.asarray(Image.open(io.BytesIO(jpeg), formats=["JPEG"]).convert("RGB"))
        key = json.dumps(instance)
        self._tries[key] += 1
        return Arrival(
            at=at,
            connection=request.transport.get_extra_info("peername")[:2] if request.transport else ("", 0),
            project=found[1],
            dim=asked["parameters"]["dimension"],
            text=text,
            jpeg=jpeg,
            pixels=pixels,
            authorization=request.headers.get("Authorization"),
            tries=self._tries[key],
        )


def _response(fault: Fault) -> web.Response:
    headers = {"Content-Type": "application/json; charset=UTF-8", **fault.headers}
    return web.Response(status=fault.status, body=fault.body, headers=headers)


def answer_of(arrival: Arrival) -> dict[str, Any]:
    name = "imageEmbedding" if arrival.text is None else "textEmbedding"
    if arrival.text is None:
        vector = vector_of_image(arrival.pixels, arrival.dim)
    else:
        vector = vector_of_text(arrival.text, arrival.dim)
    return {"predictions": [{name: vector.tolist()}], "deployedModelId": "0"}


def vector_of_image(pixels: np.ndarray, dim: int) -> np.ndarray:
    """(dim,) float32: the mean colours of a 4 x 4 grid of (H, W, 3) uint8, over and over."""
    cells = np.asarray(Image.fromarray(pixels).resize((_GRID, _GRID), Image.Resampling.BOX)).reshape(-1) / 255
    vector: np.ndarray = np.resize(cells, dim).astype(np.float32)
    return vector


def vector_of_text(text: str, dim: int) -> np.ndarray:
    """(dim,) float32: the vector of an image of the one colour that the text names, as in `colour 10 20 30`."""
    colour = np.array([int(word) for word in text.split()[1:4]], np.uint8)
    return vector_of_image(np.tile(colour, (_GRID, _GRID, 1)), dim)
