"""The API embed operator against a local server: every row its own answer, every fault its own row's."""

import io
import socket
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from email.utils import formatdate
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from made.failpoints_on import failing_at
from operators.api.options import ApiError, ApiOptions
from operators.api.quota import LocalQuota, QuotaLimits, QuotaState
from operators.api.vertex import Vertex
from operators.base.arrays import list_field, pixels_field, vectors_to_numpy
from operators.base.columns import ERROR_CLASS, HEIGHT, IMAGE_BYTES, SOURCE_SCHEMA, WIDTH
from operators.base.errors import UserError
from operators.base.rows import set_column
from operators.decode import DecodeConfig
from operators.embed_api import ApiEmbed, api_embed_config, encode_jpeg
from operators.models.load import describe
from operators.models.spec import ModelDescription, parse_model_name
from operators.pixels.preprocess import PreprocessOverrides
from operators.regions.view import without_padding
from servers.vertex import Arrival, Fault, VertexServer, error, vector_of_image

NAME = "vertex:multimodalembedding@001/128"
MODEL = describe(parse_model_name(NAME).model_copy(update={"preprocess": PreprocessOverrides(image_size=64)}))
WHOLE = describe(parse_model_name(NAME))
"""At the size that the service itself works at."""
FAST = {"requests_per_minute": 60_000.0, "project": "demo"}


@pytest.fixture
def server() -> Iterator[VertexServer]:
    server = VertexServer()
    yield server
    server.close()


@pytest.fixture
def embedder(server: VertexServer) -> Iterator[Callable[..., ApiEmbed]]:
    """Builds operators that ask the server; `max_images` is the spend cap."""
    built: list[ApiEmbed] = []

    def build(model: ModelDescription = MODEL, max_images: int | None = None, **options: Any) -> ApiEmbed:
        api = ApiOptions(**{"endpoint": server.url, **FAST, **options})
        limits = QuotaLimits(requests_per_minute=api.requests_per_minute or 1.0, max_images=max_images)
        config = api_embed_config(model, api).model_copy(update={"quota": LocalQuota(limits)})
        built.append(config.build())
        return built[-1]

    yield build
    for each in built:
        each.close()


def colour_of(row: int) -> tuple[int, int, int]:
    return 5 * row % 256, (40 + 11 * row) % 256, (200 - 7 * row) % 256


def batch_of(images: list[np.ndarray], model: ModelDescription = MODEL) -> pa.Table:
    """What `decode` gives for images of (H, W, 3) uint8 that already fit the model's input: padded in the middle."""
    side = model.preprocess.height
    canvas = np.zeros((len(images), side, side, 3), np.uint8)
    for row, image in enumerate(images):
        top, left = (side - image.shape[0]) // 2, (side - image.shape[1]) // 2
        canvas[row, top : top + image.shape[0], left : left + image.shape[1]] = image
    return rows(
        len(images),
        pixels=pa.array([each.tobytes() for each in canvas], pixels_field(side, side).type),
        height=pa.array([image.shape[0] for image in images], HEIGHT.type),
        width=pa.array([image.shape[1] for image in images], WIDTH.type),
    )


def rows(count: int, **columns: pa.Array) -> pa.Table:
    empty = {f.name: pa.nulls(count, f.type) for f in SOURCE_SCHEMA}
    empty |= {"shard": pa.array([0] * count, pa.int32()), "row": pa.array(range(count), pa.int32())}
    table = pa.Table.from_pydict(empty, schema=SOURCE_SCHEMA)
    for name, values in columns.items():
        table = table.append_column(name, values)
    return table


def solid(row: int) -> np.ndarray:
    """64 x 32 pixels of one colour: half the canvas is padding, which is never to be sent."""
    return np.full((64, 32, 3), colour_of(row), np.uint8)


def row_of(arrival: Arrival, count: int) -> int:
    """Which of the solid images came in."""
    seen = arrival.pixels.reshape(-1, 3).mean(0)
    return int(np.argmin([np.abs(seen - colour_of(row)).sum() for row in range(count)]))


def state_of(operator: ApiEmbed) -> QuotaState:
    assert operator.config.quota is not None
    return operator.config.quota.state()


def check_vectors(out: pa.Table, good: list[int]) -> None:
    """Each of these rows has the vector of its own image."""
    vectors = vectors_to_numpy(out.take(good)["vector"])
    expected = np.stack([vector_of_image(solid(row), MODEL.dim) for row in good])
    assert np.abs(vectors - expected).max() < 0.02


def classes(out: pa.Table) -> list[str | None]:
    found: list[str | None] = out[ERROR_CLASS.name].to_pylist()
    return found


def test_each_row_gets_the_vector_of_its_own_image_over_few_connections(
    server: VertexServer, embedder: Callable[..., ApiEmbed]
) -> None:
    def delayed(arrival: Arrival) -> Fault:
        return Fault(delay_s=0.03 * (row_of(arrival, 40) % 5))

    server.act = delayed
    out = embedder(max_concurrency=6)(batch_of([solid(row) for row in range(40)]))
    assert classes(out) == [None] * 40
    check_vectors(out, list(range(40)))
    assert len(server.arrivals) == 40
    assert 1 < server.connections <= 6


def test_several_blocks_at_once_keep_their_rows(server: VertexServer, embedder: Callable[..., ApiEmbed]) -> None:
    """As an actor with `concurrent_blocks` calls it."""
    server.act = lambda arrival: Fault(delay_s=0.02 * (row_of(arrival, 30) % 7))
    operator = embedder(max_concurrency=4)
    blocks = [batch_of([solid(row) for row in range(30)]).slice(start, 10) for start in (0, 10, 20)]
    with ThreadPoolExecutor(3) as pool:
        out = pa.concat_tables(pool.map(operator, blocks))
    assert classes(out) == [None] * 30
    check_vectors(out, list(range(30)))


def test_only_the_image_is_sent_and_not_the_padding(server: VertexServer, embedder: Callable[..., ApiEmbed]) -> None:
    shapes = [(64, 32), (64, 63), (37, 64), (64, 64), (1, 64)]
    images = [np.full((*shape, 3), 200, np.uint8) for shape in shapes]
    embedder(max_concurrency=1)(batch_of(images))
    assert [arrival.pixels.shape[:2] for arrival in server.arrivals] == shapes
    assert all(arrival.pixels.min() > 195 for arrival in server.arrivals)


def test_a_huge_turned_image_arrives_small_and_upright(
    server: VertexServer, embedder: Callable[..., ApiEmbed], tmp_path: Path
) -> None:
    top, bottom = (250, 20, 20), (20, 20, 250)
    upright = np.zeros((4000, 2000, 3), np.uint8)
    upright[:2000], upright[2000:] = top, bottom
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(np.ascontiguousarray(np.rot90(upright))).save(tmp_path / "huge.jpg", exif=exif, quality=95)
    data = pa.array([(tmp_path / "huge.jpg").read_bytes()], IMAGE_BYTES.type)
    decode = DecodeConfig(targets={"pixels": WHOLE.preprocess}, isolate=False).build()
    out = embedder(WHOLE)(decode(rows(1, image_bytes=data)))
    [arrival] = server.arrivals
    assert classes(out) == [None]
    assert arrival.pixels.shape == (512, 256, 3)
    assert len(arrival.jpeg) < 100_000
    assert np.abs(arrival.pixels[:250].astype(int) - top).mean() < 3
    assert np.abs(arrival.pixels[262:].astype(int) - bottom).mean() < 3


@pytest.mark.parametrize(
    ("fault", "expected", "status", "tries"),
    [
        (error(400, "INVALID_ARGUMENT", "Image cannot be read."), "bad_response", 400, 1),
        (error(413, "INVALID_ARGUMENT", "too large"), "bad_response", 413, 1),
        (error(500, "INTERNAL", "oops"), "unavailable", 500, 3),
        (error(503, "UNAVAILABLE", "later"), "unavailable", 503, 3),
        (Fault(drop=True), "unavailable", None, 3),
        (Fault(delay_s=1.0), "timeout", None, 3),
        (Fault(body=b"{not json"), "bad_response", None, 1),
        (Fault(body=b'{"predictions": []}'), "bad_response", None, 1),
        (Fault(body=b'{"predictions": [{"textEmbedding": [1.0]}]}'), "bad_response", None, 1),
        (Fault(body=b'{"predictions": [{"imageEmbedding": [0.5, 0.5]}]}'), "bad_response", None, 1),
        (Fault(body=b'{"predictions": [{"imageEmbedding": [' + b"NaN, " * 127 + b"1.0]}]}"), "bad_vector", None, 1),
        (Fault(body=b'{"predictions": [{"imageEmbedding": "abc"}]}'), "bad_response", None, 1),
        (Fault(body=b" " * 2_000_000), "bad_response", None, 1),
        (Fault(body=b"[" * 200_000), "bad_response", None, 1),
        (Fault(status=400, body=b"[" * 200_000), "bad_response", 400, 1),
        (Fault(body=b'{"predictions": [{"imageEmbedding": [' + b"1e300, " * 127 + b"1.0]}]}"), "bad_vector", None, 1),
    ],
)
def test_a_fault_fails_its_own_row_and_moves_no_neighbour(
    server: VertexServer,
    embedder: Callable[..., ApiEmbed],
    fault: Fault,
    expected: str,
    status: int | None,
    tries: int,
) -> None:
    server.act = lambda arrival: fault if row_of(arrival, 9) in (0, 4) else None
    out = embedder(max_attempts=3, request_s=0.4)(batch_of([solid(row) for row in range(9)]))
    assert classes(out) == [expected, None, None, None, expected, None, None, None, None]
    check_vectors(out, [1, 2, 3, 5, 6, 7, 8])
    assert out["error_http_status"].to_pylist()[4] == status
    assert out["error_attempts"].to_pylist()[4] == tries
    assert out["error_stage"].to_pylist()[4] == "embed"
    assert out["vector"].null_count == 2
    if status == 400 and b"INVALID" in fault.body:
        assert "INVALID_ARGUMENT: Image cannot be read." in out["error"].to_pylist()[4]


def test_an_image_over_the_limit_is_not_sent(
    server: VertexServer, embedder: Callable[..., ApiEmbed], monkeypatch: pytest.MonkeyPatch
) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    monkeypatch.setattr(Vertex, "max_image_bytes", 5000)
    out = embedder()(batch_of([solid(0), noise, solid(2)]))
    assert classes(out) == [None, "too_large", None]
    assert len(server.arrivals) == 2
    check_vectors(out, [0, 2])


def test_what_passes_is_tried_again(server: VertexServer, embedder: Callable[..., ApiEmbed]) -> None:
    faults = [error(500, "INTERNAL", "oops"), Fault(drop=True), error(429, "RESOURCE_EXHAUSTED", "slow down")]
    server.act = lambda arrival: faults[arrival.tries - 1] if arrival.tries <= 3 else None
    out = embedder(max_attempts=3)(batch_of([solid(row) for row in range(4)]))
    assert classes(out) == [None] * 4
    check_vectors(out, [0, 1, 2, 3])
    assert len(server.arrivals) == 16


@pytest.mark.parametrize("as_date", [False, True])
def test_retry_after_is_honoured(server: VertexServer, embedder: Callable[..., ApiEmbed], as_date: bool) -> None:
    def busy(arrival: Arrival) -> Fault | None:
        after = formatdate(time.time() + 3, usegmt=True) if as_date else "2"
        return error(429, "RESOURCE_EXHAUSTED", "quota", {"Retry-After": after}) if arrival.tries == 1 else None

    server.act = busy
    out = embedder()(batch_of([solid(0)]))
    assert classes(out) == [None]
    first, second = (arrival.at for arrival in server.arrivals)
    assert 1.9 < second - first < 4.0


def test_retries_end_with_the_budget_of_time(server: VertexServer, embedder: Callable[..., ApiEmbed]) -> None:
    server.act = lambda arrival: error(429, "RESOURCE_EXHAUSTED", "quota")
    started = time.monotonic()
    out = embedder(retry_s=1.0, max_attempts=1)(batch_of([solid(0), solid(1)]))
    assert classes(out) == ["throttled", "throttled"]
    assert time.monotonic() - started < 5.0
    assert min(out["error_attempts"].to_pylist()) > 1  # being throttled uses no attempts up


def test_waiting_for_the_quota_is_nobodys_fault(server: VertexServer, embedder: Callable[..., ApiEmbed]) -> None:
    """Eight rows wait up to 1.75 s for a turn, longer than an attempt, and 4 s in all, longer than the retry budget."""
    server.act = lambda arrival: error(500, "INTERNAL", "oops") if arrival.tries == 1 else None
    out = embedder(requests_per_minute=240.0, request_s=1.5, retry_s=2.0)(batch_of([solid(row) for row in range(8)]))
    assert classes(out) == [None] * 8


@pytest.mark.parametrize(
    "fault",
    [
        error(401, "UNAUTHENTICATED", "Request had invalid authentication credentials."),
        error(403, "PERMISSION_DENIED", "This API method requires billing to be enabled."),
        error(404, "NOT_FOUND", "Publisher Model was not found."),
        error(400, "FAILED_PRECONDITION", "disallowed by the organization's policy"),
        Fault(status=302, headers={"Location": "https://login.example.com"}, body=b"moved"),
    ],
)
def test_a_refused_caller_stops_and_fails_no_row(
    server: VertexServer, embedder: Callable[..., ApiEmbed], fault: Fault
) -> None:
    server.act = lambda arrival: fault if row_of(arrival, 12) >= 5 else None
    operator = embedder(max_concurrency=1)
    out = operator(batch_of([solid(row) for row in range(12)]))
    assert classes(out) == [None] * 5 + ["not_attempted"] * 7
    check_vectors(out, list(range(5)))
    assert len(server.arrivals) == 6
    said = out["error"].to_pylist()[11]
    assert str(fault.status) in said
    assert "refuses every request" in said
    again = operator(batch_of([solid(0)]))
    assert classes(again) == ["not_attempted"]
    assert len(server.arrivals) == 6


def test_the_spend_cap_pays_for_so_many_images_and_leaves_the_rest_undone(
    server: VertexServer, embedder: Callable[..., ApiEmbed]
) -> None:
    """What the provider does not charge for does not count."""
    server.act = lambda arrival: error(400, "INVALID_ARGUMENT", "no") if row_of(arrival, 16) == 3 else None
    operator = embedder(max_images=10, max_concurrency=1)
    out = operator(batch_of([solid(row) for row in range(16)]))
    assert classes(out) == [*[None] * 3, "bad_response", *[None] * 7, *["not_attempted"] * 5]
    assert len(server.answered) == 10
    assert (state_of(operator).billed, state_of(operator).requests) == (10, 11)


def test_what_broke_off_unseen_counts_as_paid(server: VertexServer, embedder: Callable[..., ApiEmbed]) -> None:
    server.act = lambda arrival: Fault(delay_s=4.0) if arrival.tries == 1 else None
    operator = embedder(max_images=2, request_s=1.5)
    assert classes(operator(batch_of([solid(0)]))) == [None]
    assert state_of(operator).capped
    assert classes(operator(batch_of([solid(1)]))) == ["not_attempted"]


def test_nothing_listens(embedder: Callable[..., ApiEmbed]) -> None:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        nobody = f"http://127.0.0.1:{bound.getsockname()[1]}"
        operator = embedder(max_attempts=2, max_images=5, endpoint=nobody)
        assert classes(operator(batch_of([solid(0)]))) == ["unavailable"]
    assert state_of(operator).billed == 0


def test_where_nothing_ever_answers_the_run_stops(embedder: Callable[..., ApiEmbed]) -> None:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        nobody = f"http://127.0.0.1:{bound.getsockname()[1]}"
        operator = embedder(max_attempts=1, max_concurrency=1, endpoint=nobody)
        out = operator(batch_of([solid(row) for row in range(24)]))
    assert classes(out) == ["unavailable"] * 19 + ["not_attempted"] * 5
    assert "has answered none of 20 requests" in out["error"].to_pylist()[-1]
    assert state_of(operator).billed == 0


def test_what_has_answered_once_is_there(server: VertexServer, embedder: Callable[..., ApiEmbed]) -> None:
    server.act = lambda arrival: Fault(drop=True) if len(server.arrivals) > 1 else None
    out = embedder(max_attempts=1, max_concurrency=1)(batch_of([solid(row) for row in range(24)]))
    assert classes(out) == [None] + ["unavailable"] * 23


def test_failed_rows_are_not_paid_for(server: VertexServer, embedder: Callable[..., ApiEmbed]) -> None:
    batch = batch_of([solid(row) for row in range(4)])
    batch = set_column(batch, pa.field(ERROR_CLASS.name, pa.string()), pa.array([None, "corrupt", None, None]))
    out = embedder()(batch)
    assert classes(out) == [None, "corrupt", None, None]
    assert len(server.arrivals) == 3
    check_vectors(out, [0, 2, 3])


def test_an_empty_batch_asks_nobody(server: VertexServer, embedder: Callable[..., ApiEmbed]) -> None:
    assert embedder()(batch_of([])).num_rows == 0
    assert not server.arrivals


def test_the_window_is_the_image_for_every_shape() -> None:
    """Against the padding itself: what is cut out holds no fill, what is left out nothing but fill."""
    from operators.pixels.resize import fit

    preprocess = WHOLE.preprocess.model_copy(update={"fill": (0, 0, 0)})
    for height, width in [(1, 1), (3, 2000), (2000, 3), (333, 512), (511, 512), (700, 699), (10, 9), (4097, 311)]:
        out = np.empty((512, 512, 3), np.uint8)
        fit(np.full((height, width, 3), 255, np.uint8), preprocess, out)
        window = without_padding(out, height, width, preprocess)
        assert window.min() == 255, (height, width)
        assert int((out == 255).all(2).sum()) == window.shape[0] * window.shape[1], (height, width)


def test_jpeg_keeps_the_colours() -> None:
    noisy = np.random.default_rng(0).integers(0, 256, (64, 48, 3), np.uint8)
    image = np.asarray(Image.fromarray(noisy).resize((480, 640), Image.Resampling.BICUBIC))
    back = np.asarray(Image.open(io.BytesIO(encode_jpeg(image))).convert("RGB"))
    error_db = 10 * np.log10(255**2 / np.square(back.astype(float) - image).mean())
    assert error_db > 38


def test_the_space_names_the_provider_and_what_was_sent() -> None:
    space = api_embed_config(MODEL, ApiOptions(project="p", endpoint="http://127.0.0.1:1")).space("vector")
    assert (space["family"], space["network"], space["dim"]) == ("vertex", "multimodalembedding@001", 128)
    assert "quality 95" in space["sent_as"]
    assert "provider" in space["weights"]
    other = api_embed_config(MODEL, ApiOptions(project="other", location="europe-west4", requests_per_minute=7))
    assert other.space("vector") == space


def test_no_project_is_an_error_that_names_both_ways(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GOOGLE_CLOUD_PROJECT", raising=False)
    with pytest.raises(ApiError, match=r"api\.project.*GOOGLE_CLOUD_PROJECT"):
        api_embed_config(MODEL, ApiOptions())
    monkeypatch.setenv("GOOGLE_CLOUD_PROJECT", "from-environment")
    assert api_embed_config(MODEL, ApiOptions()).api.project == "from-environment"


def test_regions_are_refused_where_the_plan_is_made() -> None:
    config = api_embed_config(MODEL, ApiOptions(project="p"))
    size = MODEL.preprocess
    schema = pa.schema([list_field(pixels_field(size.height, size.width))])
    with pytest.raises(UserError, match=r"regions: .* embeds whole images; leave regions out"):
        config.output_schema(schema)


@pytest.mark.parametrize(("place", "asked"), [("embed.before", 0), ("embed.after", 3)])
def test_before_its_failpoints_nothing_is_asked_and_after_them_all_is_paid_for(
    server: VertexServer, embedder: Callable[..., ApiEmbed], place: str, asked: int
) -> None:
    operator = embedder()
    with failing_at(place), pytest.raises(OSError, match=f"failpoint {place}"):
        operator(batch_of([solid(row) for row in range(3)]))
    assert len(server.arrivals) == asked
    assert state_of(operator).billed == asked
