"""Networks converted to OpenVINO: vectors of eager torch, kept by what they are made from, never trusted blindly."""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from made.photographs import cosines
from operators.models.backends.cache import entry_folder
from operators.models.backends.convert import LEAST_COSINE
from operators.models.backends.load import load_converted
from operators.models.backends.openvino import OpenVinoEmbedder
from operators.models.canaries import canary_pixels
from operators.models.load import describe, load_image_embedder
from operators.models.runtime import Runtime
from operators.models.spec import ModelDescription, ModelError, parse_model_name
from operators.models.towers.embedder import TorchEmbedder

TORCH, OPENVINO, AUTO = (Runtime(backend=name, num_threads=1) for name in ("torch", "openvino", "auto"))
MODELS = [
    "efficientnet-lite0",
    "timm:resnet18/random-0",
    "timm:convnext_atto/random-0",
    "timm:test_vit/random-0",
    "open_clip:ViT-S-32-alt/random-3",
]


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture(scope="module")
def small() -> ModelDescription:
    return describe(parse_model_name("timm:test_vit/random-0"))


@pytest.fixture(scope="module")
def on_torch(small: ModelDescription) -> TorchEmbedder:
    return from_torch(small)


@pytest.fixture(scope="module")
def kept(small: ModelDescription, on_torch: TorchEmbedder, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache in which `small` is converted: to be copied, not changed."""
    folder = tmp_path_factory.mktemp("kept") / "cache"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(folder))
        loaded(small, lambda: on_torch)
    return folder


def from_torch(model: ModelDescription) -> TorchEmbedder:
    embedder = load_image_embedder(model, TORCH)
    assert isinstance(embedder, TorchEmbedder)
    return embedder


def never() -> TorchEmbedder:
    raise AssertionError("converted a second time")


def loaded(model: ModelDescription, make: Callable[[], TorchEmbedder] = never) -> OpenVinoEmbedder:
    embedder = load_converted(model, "float32", make, required=True, num_threads=1)
    assert embedder is not None
    return embedder


@pytest.mark.parametrize("name", MODELS)
def test_vectors_are_those_of_eager_torch(name: str) -> None:
    """On images that the conversion was not checked with; by any number of them at a time."""
    model = describe(parse_model_name(name))
    size = (model.preprocess.height, model.preprocess.width)
    pixels = np.random.default_rng(0).integers(0, 256, (5, *size, 3), np.uint8)
    pixels[:, ::7, :, 1] //= 3
    converted = load_image_embedder(model, AUTO)
    assert isinstance(converted, OpenVinoEmbedder)
    vectors, expected = converted.embed(pixels), from_torch(model).embed(pixels)
    assert vectors.dtype == np.float32
    assert cosines(vectors, expected).min() >= 0.99999
    assert np.allclose(np.linalg.norm(vectors, axis=1), np.linalg.norm(expected, axis=1), rtol=1e-3)
    assert np.allclose(np.concatenate([converted.embed(pixels[i : i + 1]) for i in range(5)]), vectors, rtol=1e-3)


def test_float32_stays_float32_on_hardware_that_could_do_less() -> None:
    """Unless told, OpenVINO computes in bfloat16 wherever the CPU can, which moves this model's vectors to 0.98."""
    model = describe(parse_model_name("efficientnet-lite0"))
    pixels = canary_pixels(model.preprocess)
    vectors = load_image_embedder(model, OPENVINO).embed(pixels)
    assert cosines(vectors, from_torch(model).embed(pixels)).min() > 0.999999


def test_what_is_converted_once_is_opened_without_torch_ever_after(cache: Path, small: ModelDescription) -> None:
    pixels = canary_pixels(small.preprocess)
    first = loaded(small, lambda: from_torch(small)).embed(pixels)
    assert np.array_equal(loaded(small).embed(pixels), first)
    code = (
        "import sys; from operators.models.spec import ModelDescription; from operators.models.runtime import Runtime\n"
        "from operators.models.load import load_image_embedder\n"
        "model = ModelDescription.model_validate_json(sys.stdin.read())\n"
        "print(type(load_image_embedder(model, Runtime(backend='openvino'))).__name__)\n"
        "print(*{name.partition('.')[0] for name, module in sys.modules.items() if module})\n"
        "print(sys.modules.get('openvino.tools'))"
    )
    asked = small.model_dump_json()
    done = subprocess.run([sys.executable, "-c", code], input=asked, capture_output=True, text=True, check=True)
    name, modules, converter = done.stdout.splitlines()
    assert name == "OpenVinoEmbedder"
    assert converter == "None"
    assert not {"torch", "torchvision", "timm", "open_clip", "openvino_telemetry"} & set(modules.split())


def test_one_process_converts_and_the_others_wait(cache: Path, small: ModelDescription) -> None:
    made: list[int] = []

    def make() -> TorchEmbedder:
        made.append(1)
        return from_torch(small)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: loaded(small, make), range(4)))
    assert len(made) == 1


@pytest.mark.parametrize("damage", ["network.bin", "network.xml", "entry.json", "cut", "gone", "another's"])
def test_what_is_damaged_or_another_networks_is_made_anew(
    cache: Path, kept: Path, small: ModelDescription, on_torch: TorchEmbedder, damage: str
) -> None:
    shutil.copytree(kept, cache)
    loaded(small)
    folder = entry_folder(small, "float32")
    path = folder / (damage if "." in damage else "network.bin")
    content = path.read_bytes()
    match damage:
        case "cut":
            path.write_bytes(content[:-4])
        case "gone":
            path.unlink()
        case "another's":
            path.write_bytes(np.random.default_rng(0).permutation(np.frombuffer(content, np.float32)).tobytes())
        case _:
            path.write_bytes(bytes([content[0] ^ 1]) + content[1:])
    with pytest.raises(AssertionError, match="a second time"):
        loaded(small)
    vectors = loaded(small, lambda: on_torch).embed(canary_pixels(small.preprocess))
    assert cosines(vectors, on_torch.embed(canary_pixels(small.preprocess))).min() > 0.99999
    loaded(small)
    assert sorted(each.name for each in folder.parent.iterdir()) == sorted([folder.name, f"{folder.name}.lock"])


def test_a_folder_that_cannot_be_written_to_serves_what_it_has(
    cache: Path, small: ModelDescription, capsys: pytest.CaptureFixture[str]
) -> None:
    """A file where the folder should be stands for one without the right to write, which root always has."""
    (cache / "pixlake" / "weights").mkdir(parents=True)
    (cache / "pixlake" / "weights" / "converted").write_text("")
    pixels = canary_pixels(small.preprocess)
    vectors = loaded(small, lambda: from_torch(small)).embed(pixels)
    assert cosines(vectors, from_torch(small).embed(pixels)).min() > 0.99999
    assert "does not keep the converted network" in capsys.readouterr().err


def test_each_choice_that_changes_vectors_has_a_network_of_its_own(small: ModelDescription) -> None:
    spec = small.spec
    others = [
        small.model_copy(update={"weights_sha256": "0" * 64}),
        small.model_copy(update={"network": "another"}),
        small.model_copy(update={"spec": spec.model_copy(update={"pooling": "avg"})}),
        small.model_copy(update={"spec": spec.model_copy(update={"layer": -1})}),
        small.model_copy(update={"preprocess": small.preprocess.model_copy(update={"height": 192})}),
        small.model_copy(update={"preprocess": small.preprocess.model_copy(update={"mean": (0.0, 0.0, 0.0)})}),
    ]
    folders = [entry_folder(each, "float32") for each in (small, *others)]
    folders += [entry_folder(small, "bfloat16")]
    assert len(set(folders)) == len(folders)
    named = spec.model_copy(update={"name": "mine", "weights": "s3://b/k", "sha256": "ab" * 32})
    elsewhere = small.model_copy(update={"spec": named, "weights_uri": "s3://b/k"})
    assert entry_folder(elsewhere, "float32") == folders[0]


def test_a_network_that_would_give_other_vectors_is_not_used(
    cache: Path, small: ModelDescription, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It is tried once: the next process knows it."""
    monkeypatch.setitem(LEAST_COSINE, "float32", 1.1)
    assert isinstance(load_image_embedder(small, AUTO), TorchEmbedder)
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith("pixlake: model 'timm:test_vit/random-0' runs on torch, and not on OpenVINO: its vectors")
    assert load_converted(small, "float32", never, required=False) is None
    assert capsys.readouterr().err == ""
    with pytest.raises(ModelError, match=r"cannot run on OpenVINO: its vectors of 16 test images.*leave model.backend"):
        load_image_embedder(small, OPENVINO)
    assert json.loads((entry_folder(small, "float32") / "entry.json").read_text())["digest"] is None


@pytest.mark.parametrize(
    ("name", "runtime", "reason"),
    [
        ("null", OPENVINO, "takes models of timm and open_clip"),
        ("timm:test_vit/random-0", Runtime(backend="openvino", device="cuda"), "for CPUs"),
        ("timm:test_vit/random-0", Runtime(backend="openvino", compile=True), "compile is torch's"),
    ],
)
def test_what_openvino_cannot_do_is_said(name: str, runtime: Runtime, reason: str) -> None:
    model = describe(parse_model_name(name))
    with pytest.raises(ModelError, match=reason):
        load_image_embedder(model, runtime)


def test_without_openvino_torch_does_it(small: ModelDescription, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("operators.models.backends.choose.find_spec", lambda name: None)
    assert isinstance(load_image_embedder(small, AUTO), TorchEmbedder)
    with pytest.raises(ModelError, match=r"pip install 'pixlake\[openvino\]'"):
        load_image_embedder(small, OPENVINO)
