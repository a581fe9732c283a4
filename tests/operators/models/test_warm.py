"""The process that resolved a model embeds with it: the same vectors, side by side, and nothing left behind."""

import os
import pickle
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from operators.embed import EmbedPixelsConfig
from operators.models.canaries import CanaryError, canary_pixels
from operators.models.load import describe, load_image_embedder
from operators.models.process import ModelProcess, ModelProcessError
from operators.models.resolve import Resolved, WantedModel, resolve_models
from operators.models.runtime import Runtime
from operators.models.spec import ModelDescription, ModelError, parse_model_name
from operators.models.warm import SHARED, WarmEmbedder, end_warm_process, image_embedder, sharing, warm_process

NAME = "timm:test_vit/random-0"
RUNTIME = Runtime(num_threads=1, batch_size=5, concurrency=2)
ON_TORCH = Runtime(num_threads=1, batch_size=5, backend="torch")
WANTED = WantedModel(spec=parse_model_name(NAME), runtime=Runtime(num_threads=1), canaries=True)


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The cache of the tests that share one process: it takes seconds to start."""
    yield tmp_path_factory.mktemp("kept") / "cache"
    end_warm_process()


@pytest.fixture
def resolved(kept: Path, monkeypatch: pytest.MonkeyPatch) -> Resolved:
    """By the process of an earlier test, where that is still there."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(kept))
    of_process = kept / str(warm_process().pid)
    if not of_process.exists():
        # What an earlier process remembered would be answered without one.
        shutil.rmtree(kept, ignore_errors=True)
        of_process.mkdir(parents=True)
    return resolve_models([WANTED])[0]


@pytest.fixture
def _alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No process and no cache of another test."""
    end_warm_process()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    yield
    end_warm_process()


@pytest.fixture
def resolved_alone(_alone: None) -> Resolved:
    return resolve_models([WANTED])[0]


def warm(description: ModelDescription, runtime: Runtime = RUNTIME) -> WarmEmbedder:
    embedder = image_embedder(description, runtime)
    assert isinstance(embedder, WarmEmbedder)
    return embedder


def test_without_a_batch_size_it_takes_the_other_end_s(resolved: Resolved) -> None:
    pixels = canary_pixels(resolved.description.preprocess)
    found = warm(resolved.description, Runtime(num_threads=1, batch_size="auto"))
    assert found.batch_size == 32 or found.backend == "openvino"
    assert np.allclose(found.embed(pixels), warm(resolved.description).embed(pixels), atol=1e-5)


def test_it_gives_the_vectors_that_the_model_gives_here(resolved: Resolved) -> None:
    pixels = canary_pixels(resolved.description.preprocess)
    here = load_image_embedder(resolved.description, Runtime(num_threads=1, batch_size=5)).embed(pixels)
    there = warm(resolved.description)
    assert np.array_equal(there.embed(pixels), here)
    assert there.canaries is not None
    assert np.allclose(there.canaries, here, atol=1e-5)
    with ThreadPoolExecutor(6) as pool:
        assert all(np.array_equal(each, here) for each in pool.map(there.embed, [pixels] * 12))
    assert resolved.forward_s is not None
    assert 0 < resolved.forward_s < 1


def test_its_passes_take_long_turns(resolved: Resolved) -> None:
    warm(resolved.description).embed(canary_pixels(resolved.description.preprocess))
    pid = warm_process().pid
    assert os.SCHED_BATCH in {os.sched_getscheduler(int(thread)) for thread in os.listdir(f"/proc/{pid}/task")}
    assert os.sched_getscheduler(pid) == os.SCHED_OTHER, "who asks for a connection waits for it"


def test_regions_are_pooled_there_too(resolved: Resolved) -> None:
    spec = resolved.description.spec.model_copy(update={"pooling": "avg", "layer": -1})
    wanted = WantedModel(spec=spec, runtime=Runtime(), canaries=False, patches=True)
    description = resolve_models([wanted])[0].description
    pixels = canary_pixels(description.preprocess, 3)
    boxes = [np.array([[0, 0, 1, 1], [0.5, 0, 1, 1]]), np.array([[0, 0, 0.5, 0.5]]), np.array([[0, 0, 1, 1]])]
    here = load_image_embedder(description, Runtime())
    there = warm(description, Runtime(batch_size=2))
    assert there.takes_regions
    assert np.allclose(there.embed_regions(pixels, boxes), here.embed_regions(pixels, boxes), atol=1e-5)  # type: ignore[attr-defined]


def test_the_same_model_again_is_resolved_by_the_same_process_and_is_not_loaded_again(resolved: Resolved) -> None:
    before = warm_process().pid
    wanted = WantedModel(spec=parse_model_name(NAME), runtime=Runtime(num_threads=1), canaries=True)
    [again] = resolve_models([wanted])
    assert warm_process().pid == before
    assert again.description == resolved.description
    assert again.canaries == resolved.canaries


def test_an_operator_compares_the_canaries_of_the_warm_model(resolved: Resolved) -> None:
    assert resolved.canaries is not None
    EmbedPixelsConfig(model=resolved.description, canaries=resolved.canaries).build()
    [other] = resolve_models(
        [WantedModel(spec=parse_model_name("timm:test_vit/random-1"), runtime=Runtime(), canaries=True)]
    )
    with pytest.raises(CanaryError, match="does not compute what it did"):
        EmbedPixelsConfig(model=other.description, canaries=resolved.canaries).build()


def test_a_model_that_cannot_be_loaded_says_so_and_the_process_goes_on(resolved: Resolved) -> None:
    changed = resolved.description.model_copy(update={"weights_sha256": "0" * 64})
    with pytest.raises(ModelError, match=r"0{64}"):
        image_embedder(changed, RUNTIME)
    assert len(warm(resolved.description).embed(canary_pixels(resolved.description.preprocess, 1))) == 1


def test_an_answer_that_was_not_waited_for_is_not_taken_for_another(resolved: Resolved) -> None:
    process = warm_process()

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGALRM, interrupt)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.02)
        with pytest.raises(KeyboardInterrupt):
            # Another model than any that an earlier test had loaded there.
            process.ask([WantedModel(spec=parse_model_name("timm:test_vit/random-2"), runtime=RUNTIME, canaries=True)])
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert set(process.ask((resolved.description, RUNTIME))) == {
        "takes_regions",
        "canaries",
        "device",
        "backend",
        "batch_size",
    }


IN_A_PROCESS_STARTED_BY_THIS_ONE = """
import pickle, sys
from operators.models.canaries import canary_pixels
from operators.models.warm import WarmEmbedder, image_embedder
description, runtime = pickle.load(sys.stdin.buffer)
embedder = image_embedder(description, runtime)
vectors = embedder.embed(canary_pixels(description.preprocess))
loaded = sorted({"torch", "timm", "openvino"} & set(sys.modules))
sys.stdout.buffer.write(pickle.dumps((isinstance(embedder, WarmEmbedder), loaded, vectors)))
"""


def in_another_process(description: ModelDescription) -> tuple[bool, list[str], np.ndarray]:
    """(whether it used a warm model, the libraries of models that it loaded, its vectors of the canary images)."""
    command = [sys.executable, "-c", IN_A_PROCESS_STARTED_BY_THIS_ONE]
    told = pickle.dumps((description, ON_TORCH))
    ended = subprocess.run(command, input=told, stdout=subprocess.PIPE, check=True)
    found: tuple[bool, list[str], np.ndarray] = pickle.loads(ended.stdout)
    return found


def test_a_process_that_is_started_meanwhile_embeds_with_it_and_loads_no_library(resolved: Resolved) -> None:
    here = warm(resolved.description, ON_TORCH).embed(canary_pixels(resolved.description.preprocess))
    with sharing():
        shared, loaded, there = in_another_process(resolved.description)
    assert (shared, loaded) == (True, [])
    assert np.array_equal(there, here)
    assert SHARED not in os.environ
    alone, loaded, there = in_another_process(resolved.description)
    assert not alone
    assert "torch" in loaded
    assert np.allclose(there, here, atol=1e-4)


@pytest.mark.kill
def test_where_the_shared_one_has_died_the_model_is_loaded_in_its_place(resolved: Resolved) -> None:
    """The last of those that share a process."""
    with sharing():
        os.kill(warm_process().pid, signal.SIGKILL)
        shared, loaded, _ = in_another_process(resolved.description)
    assert not shared
    assert "torch" in loaded


@pytest.mark.usefixtures("_alone")
def test_a_token_that_was_set_since_is_heard(monkeypatch: pytest.MonkeyPatch) -> None:
    before = warm_process().pid
    assert warm_process().pid == before
    monkeypatch.setenv("HF_TOKEN", "set-after-an-error-said-so")
    assert warm_process().pid != before


@pytest.mark.usefixtures("_alone")
def test_a_model_without_a_network_starts_no_process() -> None:
    resolve_models([WantedModel(spec=parse_model_name("null"), runtime=Runtime(), canaries=False)])
    assert not isinstance(image_embedder(describe(parse_model_name("null")), RUNTIME), WarmEmbedder)


@pytest.mark.kill
def test_a_death_is_an_error_once_and_the_model_is_loaded_here_then(resolved_alone: Resolved) -> None:
    embedder = warm(resolved_alone.description)
    pixels = canary_pixels(resolved_alone.description.preprocess, 2)
    os.kill(warm_process().pid, signal.SIGKILL)
    with pytest.raises(ModelProcessError, match=r"status -9") as died:
        embedder.embed(pixels)
    assert died.value.__cause__ is None, "a run's note would say EOFError instead"
    here = image_embedder(resolved_alone.description, RUNTIME)
    assert not isinstance(here, WarmEmbedder)
    assert here.embed(pixels).shape == (2, resolved_alone.description.dim)


@pytest.mark.usefixtures("_alone")
def test_ending_it_leaves_no_process_and_no_open_file() -> None:
    before = len(os.listdir("/proc/self/fd"))
    resolve_models([WantedModel(spec=parse_model_name(NAME), runtime=Runtime(), canaries=False)])
    pid = warm_process().pid
    end_warm_process()
    deadline = time.monotonic() + 10
    while len(os.listdir("/proc/self/fd")) > before and time.monotonic() < deadline:
        time.sleep(0.1)
    # Fewer where files of an earlier test were collected meanwhile.
    assert len(os.listdir("/proc/self/fd")) <= before
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


@pytest.mark.usefixtures("_alone")
def test_its_socket_has_a_path_that_is_short_enough_whatever_the_temporary_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    long = tmp_path / ("a" * 100)
    long.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(long))
    process = ModelProcess()
    try:
        # The null model takes no library to load.
        [answer] = process.ask([WantedModel(spec=parse_model_name("null"), runtime=Runtime(), canaries=False)])[
            "models"
        ]
    finally:
        process.close()
    assert answer["description"]["dim"] == 192
    assert not os.path.exists(os.path.dirname(process.address))
    assert not [left for left in long.iterdir() if left.name.startswith("pixlake-")]


def test_nothing_is_left_of_it_when_its_process_is_killed() -> None:
    code = (
        "import time\nfrom operators.models.process import ModelProcess\n"
        "process = ModelProcess()\nprint(process.pid, process.address, flush=True)\ntime.sleep(600)"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        pid, address = parent.stdout.readline().split()
        parent.kill()
    deadline = time.monotonic() + 60
    while os.path.exists(f"/proc/{pid}") or os.path.exists(os.path.dirname(address)):
        assert time.monotonic() < deadline
        time.sleep(0.1)
