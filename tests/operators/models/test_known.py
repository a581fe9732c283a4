"""What was resolved before: answered at once while weights and releases are the same, and never otherwise."""

import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import timm
from safetensors.torch import save_file

from operators.models import known
from operators.models.resolve import Resolved, WantedModel, resolve_models
from operators.models.runtime import Runtime
from operators.models.spec import ModelSpec, parse_model_name
from operators.models.warm import end_warm_process

AUTO = Runtime(backend="auto", num_threads=1)


@pytest.fixture(scope="module", autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """One for all tests, and so one process that resolves: it takes 5 s of CPU to start. What it remembers, each test
    begins without."""
    folder = tmp_path_factory.mktemp("known") / "cache"
    # One that an earlier test has warmed knows of another cache.
    end_warm_process()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(folder))
        yield folder
    end_warm_process()


@pytest.fixture(autouse=True)
def notes(cache: Path) -> Path:
    folder = cache / "pixlake" / "weights" / "known"
    shutil.rmtree(folder, ignore_errors=True)
    return folder


def wanted(spec: ModelSpec, runtime: Runtime = AUTO) -> WantedModel:
    return WantedModel(spec=spec, runtime=runtime, canaries=True)


def recalled(spec: ModelSpec, runtime: Runtime = AUTO) -> known.Known | None:
    return known.recall(spec, runtime, canaries=True, patches=False)


def write_weights(folder: Path) -> Path:
    path = folder / "w.safetensors"
    save_file(timm.create_model("test_vit", num_classes=0).state_dict(), path)
    return path


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    return write_weights(tmp_path)


@pytest.fixture(scope="module")
def resolved_once(tmp_path_factory: pytest.TempPathFactory, cache: Path) -> tuple[ModelSpec, Path]:
    """A model, and the notes of its being resolved: to be copied, not changed."""
    folder = tmp_path_factory.mktemp("resolved")
    shutil.rmtree(cache / "pixlake" / "weights" / "known", ignore_errors=True)
    spec = parse_model_name(f"timm:test_vit@{write_weights(folder)}")
    resolve_models([wanted(spec)])
    return spec, shutil.copytree(cache / "pixlake" / "weights" / "known", folder / "notes")


@pytest.fixture
def remembered(resolved_once: tuple[ModelSpec, Path], notes: Path) -> ModelSpec:
    """A model that was resolved before."""
    spec, kept = resolved_once
    shutil.copytree(kept, notes, dirs_exist_ok=True)
    assert recalled(spec) is not None
    return spec


def test_a_known_model_is_answered_by_no_child_and_no_library() -> None:
    spec = parse_model_name("efficientnet-lite0")
    [first] = resolve_models([wanted(spec)])
    code = (
        "import sys\nfrom operators.models.resolve import WantedModel, resolve_models\n"
        "from operators.models.runtime import Runtime\nfrom operators.models.spec import parse_model_name\n"
        "from operators.models.warm import image_embedder\nfrom operators.models.canaries import canary_pixels\n"
        "runtime = Runtime(backend='auto', num_threads=1)\n"
        "asked = WantedModel(spec=parse_model_name('efficientnet-lite0'), runtime=runtime, canaries=True)\n"
        "[found] = resolve_models([asked])\n"
        "vectors = image_embedder(found.description, runtime).embed(canary_pixels(found.description.preprocess, 2))\n"
        "print(found.description.model_dump_json())\nprint(found.canaries.vectors)\nprint(vectors.shape)\n"
        "import operators.models.warm as warm; print(warm._kept)\n"
        "print(*{name.partition('.')[0] for name, module in sys.modules.items() if module})"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    description, canaries, shape, child, modules = done.stdout.splitlines()
    assert description == first.description.model_dump_json()
    assert first.canaries is not None
    assert canaries == first.canaries.vectors
    assert "openvino" in first.canaries.versions
    assert shape == "(2, 1280)"
    assert child == "None"
    assert not {"torch", "torchvision", "timm", "open_clip", "transformers", "huggingface_hub"} & set(modules.split())


def test_other_weights_under_the_same_name_are_resolved_anew(weights: Path) -> None:
    spec = parse_model_name(f"timm:test_vit@{weights}")
    [first] = resolve_models([wanted(spec)])
    there = recalled(spec)
    assert there is not None
    assert Resolved(**there._asdict()) == first
    state = timm.create_model("test_vit", num_classes=0).state_dict()
    save_file({name: tensor + 0.01 for name, tensor in state.items()}, weights)
    assert recalled(spec) is None
    [second] = resolve_models([wanted(spec)])
    assert second.description.weights_sha256 != first.description.weights_sha256
    assert first.canaries is not None
    assert second.canaries is not None
    assert not np.array_equal(first.canaries.to_numpy(), second.canaries.to_numpy())


def test_a_pin_that_the_weights_do_not_have_is_for_the_child_to_refuse(weights: Path) -> None:
    spec = parse_model_name(f"timm:test_vit@{weights}")
    resolve_models([wanted(spec)])
    assert recalled(spec.model_copy(update={"sha256": "0" * 64})) is None
    weights.unlink()
    assert recalled(spec) is None


@pytest.mark.parametrize(
    "changed",
    [
        Runtime(backend="torch"),
        Runtime(backend="auto", precision="bfloat16"),
        Runtime(backend="auto", device="cuda"),
    ],
)
def test_what_runs_otherwise_was_not_asked_yet(remembered: ModelSpec, changed: Runtime) -> None:
    assert recalled(remembered, changed) is None
    assert recalled(remembered.model_copy(update={"pooling": "avg"})) is None


def test_another_release_of_a_library_has_not_resolved_it(
    remembered: ModelSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("operators.models.canaries.version", lambda name: "99")
    assert recalled(remembered) is None


def test_what_torch_runs_is_resolved_by_the_process_that_goes_on_to_run_it(weights: Path) -> None:
    spec, runtime = parse_model_name(f"timm:test_vit@{weights}"), Runtime(backend="torch", num_threads=1)
    resolve_models([wanted(spec, runtime)])
    assert recalled(spec, runtime) is None


def test_a_damaged_note_is_as_none(remembered: ModelSpec, notes: Path) -> None:
    [note] = notes.iterdir()
    for damaged in (note.read_text()[:-20], '{"description": 1}', "[]"):
        note.write_text(damaged)
        assert recalled(remembered) is None
    assert len(resolve_models([wanted(remembered)])) == 1


def test_that_a_model_could_not_be_run_is_no_answer_where_it_must_be() -> None:
    spec = parse_model_name("timm:test_vit/random-0")
    [found] = resolve_models([wanted(spec)])
    # As what resolves it writes where an optional way, one of those that `fastest` tries, could not be run.
    known.remember(spec, AUTO, known.Known(found.description, None, None), canaries=True, patches=False)
    [tried] = resolve_models([WantedModel(spec=spec, runtime=AUTO, canaries=True, optional=True)])
    assert tried.canaries is None
    [asked] = resolve_models([wanted(spec)])
    assert asked.canaries is not None


def test_a_user_without_a_home_folder_remembers_nothing(remembered: ModelSpec, monkeypatch: pytest.MonkeyPatch) -> None:
    there = recalled(remembered)
    assert there is not None
    monkeypatch.setenv("XDG_CACHE_HOME", "~nobody-of-this-name/cache")
    known.remember(remembered, AUTO, there, canaries=True, patches=False)
    assert recalled(remembered) is None


@pytest.mark.slow
def test_a_user_without_a_home_folder_has_models_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "~nobody-of-this-name/cache")
    spec = parse_model_name("timm:test_vit/random-0")
    [found] = resolve_models([wanted(spec)])
    assert found.canaries is not None
    assert recalled(spec) is None
