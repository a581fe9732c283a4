"""The OpenVINO embedder's threads: passes side by side, as many as told, and cores not counted twice."""

import threading

import numpy as np
import pytest

from operators.models.backends.openvino import OpenVinoEmbedder, cpu_threads
from operators.models.load import describe, load_image_embedder
from operators.models.runtime import Runtime
from operators.models.spec import ModelDescription, parse_model_name


@pytest.fixture(scope="module")
def model() -> ModelDescription:
    return describe(parse_model_name("efficientnet-lite0"))


def noise(model: ModelDescription, count: int) -> np.ndarray:
    shape = (count, model.preprocess.height, model.preprocess.width, 3)
    return np.random.default_rng(count).integers(0, 256, shape, np.uint8)


def embedder(model: ModelDescription, concurrency: int) -> OpenVinoEmbedder:
    runtime = Runtime(backend="openvino", num_threads=1, concurrency=concurrency, batch_size=4)
    found = load_image_embedder(model, runtime)
    assert isinstance(found, OpenVinoEmbedder)
    return found


@pytest.mark.parametrize(("concurrency", "overtaken"), [(2, True), (1, False)])
def test_a_short_call_overtakes_a_long_one_where_two_run_at_a_time(
    model: ModelDescription, concurrency: int, overtaken: bool
) -> None:
    shared = embedder(model, concurrency)
    many, one = noise(model, 160), noise(model, 1)
    done = threading.Event()
    started = threading.Barrier(2)

    def long() -> None:
        started.wait()
        shared.embed(many)
        done.set()

    thread = threading.Thread(target=long)
    thread.start()
    started.wait()
    done.wait(0.3)
    assert not done.is_set(), "160 images in 0.3 s: the test needs more of them"
    shared.embed(one)
    assert not done.is_set() or not overtaken
    thread.join()


def test_calls_at_the_same_time_give_what_each_gives_alone(model: ModelDescription) -> None:
    shared = embedder(model, 2)
    batches = [noise(model, count) for count in range(1, 7)]
    alone = [shared.embed(batch) for batch in batches]
    together: list[np.ndarray | None] = [None] * len(batches)

    def run(at: int) -> None:
        together[at] = shared.embed(batches[at])

    threads = [threading.Thread(target=run, args=(at,)) for at in range(len(batches))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for one, other in zip(alone, together, strict=True):
        assert other is not None
        assert np.allclose(one, other, rtol=1e-4, atol=1e-5)


def test_pixels_in_read_only_memory_are_left_alone(model: ModelDescription) -> None:
    pixels = noise(model, 2)
    expected = embedder(model, 1).embed(pixels)
    pixels.flags.writeable = False
    assert np.array_equal(embedder(model, 1).embed(pixels), expected)


def test_no_images_are_refused(model: ModelDescription) -> None:
    with pytest.raises(ValueError, match="no images"):
        embedder(model, 1).embed(noise(model, 0))


@pytest.mark.parametrize(("told", "threads"), [("3", 3), ("", None), ("0", None), ("2,1", None)])
def test_an_actors_share_of_the_cores_is_kept_to(
    told: str, threads: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    import os

    monkeypatch.setenv("OMP_NUM_THREADS", told)
    assert cpu_threads() == (threads or len(os.sched_getaffinity(0)))
