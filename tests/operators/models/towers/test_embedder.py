"""Precision, micro-batches and threads around a tower of one's own."""

import os
import subprocess
import sys
import textwrap
import weakref
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import timm
import torch

from made.photographs import cosines, decoded
from operators.models.load import describe, load_image_embedder
from operators.models.runtime import Runtime
from operators.models.spec import Precision, parse_model_name
from operators.models.towers.batch_trial import SIZES
from operators.models.towers.embedder import TorchEmbedder
from operators.pixels.preprocess import Preprocess, PreprocessOverrides

PREPROCESS = Preprocess(
    height=4,
    width=6,
    resize="shortest",
    resize_height=4,
    resize_width=6,
    interpolation="bicubic",
    mean=(0.1, 0.2, 0.3),
    std=(0.5, 0.25, 0.125),
)


class Sums(torch.nn.Module):
    """The sum of each channel, and how many images came at a time."""

    def __init__(self) -> None:
        super().__init__()
        self.sizes: list[int] = []

    def forward(self, pixels_NCHW: torch.Tensor) -> torch.Tensor:
        self.sizes.append(len(pixels_NCHW))
        return pixels_NCHW.sum((2, 3))


def embedder(tower: torch.nn.Module, batch_size: int = 4, precision: Precision = "float32") -> TorchEmbedder:
    return TorchEmbedder(tower, PREPROCESS, Runtime(precision=precision, batch_size=batch_size))


def noise(count: int, height: int = 4, width: int = 6) -> np.ndarray:
    return np.random.default_rng(count).integers(0, 256, (count, height, width, 3), np.uint8)


def test_pixels_are_normalised_channel_by_channel() -> None:
    pixels = noise(5)
    expected = ((pixels / 255 - PREPROCESS.mean) / PREPROCESS.std).sum((1, 2))
    vectors = embedder(Sums()).embed(pixels)
    assert vectors.dtype == np.float32
    assert np.allclose(vectors, expected, atol=1e-4)


def test_micro_batches_are_one_batch_in_order() -> None:
    pixels, tower = noise(10), Sums()
    parts = embedder(tower, 4).embed(pixels)
    assert tower.sizes == [4, 4, 2]
    assert np.array_equal(parts, embedder(Sums(), 10).embed(pixels))


class TooSmall(Sums):
    """Has memory for two images at a time; keeps weak references to what it was given."""

    def __init__(self) -> None:
        super().__init__()
        self.given: list[weakref.ref[torch.Tensor]] = []

    def forward(self, pixels_NCHW: torch.Tensor) -> torch.Tensor:
        self.given.append(weakref.ref(pixels_NCHW))
        if len(pixels_NCHW) > 2:
            raise torch.OutOfMemoryError
        return super().forward(pixels_NCHW)


def test_a_batch_that_memory_does_not_suffice_for_is_halved_and_let_go_of_first(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pixels, tower = noise(7), TooSmall()
    alive: list[int] = []
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: alive.append(sum(x() is not None for x in tower.given)))
    assert np.array_equal(embedder(tower, 7).embed(pixels), embedder(Sums(), 7).embed(pixels))
    assert tower.sizes == [2, 2, 2, 1]
    assert alive == [0, 0]


class ShortForAWhile(Sums):
    """Has memory for two images at a time, and says so as torch does on a CPU; from the twentieth pass on for all."""

    def forward(self, pixels_NCHW: torch.Tensor) -> torch.Tensor:
        if len(pixels_NCHW) > 2 and len(self.sizes) < 20:
            raise RuntimeError("[enforce fail at alloc_cpu.cpp:127] data. DefaultCPUAllocator: can't allocate memory")
        return super().forward(pixels_NCHW)


def test_the_size_recovers_once_memory_suffices_again() -> None:
    """What fits is not asked for again pass by pass, and more is tried after a while."""
    pixels, tower = noise(160), ShortForAWhile()
    vectors = embedder(tower, 8).embed(pixels)
    assert np.array_equal(vectors, embedder(Sums(), 8).embed(pixels))
    assert tower.sizes[:16] == [2] * 16
    assert tower.sizes[-3:] == [8] * 3
    assert sum(tower.sizes) == 160


def test_a_real_network_under_a_real_limit_gives_the_vectors_that_it_gives_without() -> None:
    """24 images of 224 pixels take a ResNet-18 some 160 MB at a time; 100 are left to it, then 60.

    Where memory runs out is another place from run to run: tensors, or the kernels that oneDNN writes."""
    code = """
        import resource
        import numpy as np
        from operators.models.load import describe, load_image_embedder
        from operators.models.runtime import Runtime
        from operators.models.spec import parse_model_name

        model = describe(parse_model_name("timm:resnet18/random-0"))
        embedder = load_image_embedder(model, Runtime(batch_size=24, num_threads=1, backend="torch"))
        pixels = np.random.default_rng(0).integers(0, 256, (24, 224, 224, 3), np.uint8)
        expected = np.concatenate([embedder.embed(pixels[at : at + 4]) for at in range(0, 24, 4)])
        sizes = []
        embedder.tower.register_forward_pre_hook(lambda tower, given: sizes.append(len(given[0])))
        held = next(int(line.split()[1]) << 10 for line in open("/proc/self/status") if line.startswith("VmData"))
        for left in (100, 60):
            resource.setrlimit(resource.RLIMIT_DATA, (held + (left << 20), -1))
            vectors = embedder.embed(pixels)
            assert np.abs(vectors - expected).max() <= 1e-4 * np.abs(expected).max(), "other vectors"
        assert sizes[0] == 24 and 1 < min(sizes) < 24, sizes
        print("halved", sizes)
    """
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", textwrap.dedent(code)]
    ended = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert ended.returncode == 0, ended.stderr[-2000:]
    assert ended.stdout.startswith("halved")


def test_an_image_that_memory_does_not_suffice_for_alone_is_an_error() -> None:
    class NoMemory(torch.nn.Module):
        def forward(self, pixels_NCHW: torch.Tensor) -> torch.Tensor:
            raise torch.OutOfMemoryError

    with pytest.raises(torch.OutOfMemoryError):
        embedder(NoMemory()).embed(noise(3))


@pytest.mark.parametrize(("precision", "allowed"), [("float32", False), ("bfloat16", True)])
def test_float32_is_not_rounded_to_tf32(precision: Precision, allowed: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", True)
    embedder(Sums(), precision=precision)
    assert torch.backends.cudnn.allow_tf32 is allowed
    assert torch.get_float32_matmul_precision() == "highest"


def test_read_only_pixels_are_left_alone() -> None:
    """Blocks in Ray's object store are mapped read-only."""
    pixels = noise(3)
    pixels.flags.writeable = False
    before = pixels.copy()
    embedder(Sums()).embed(pixels)
    assert np.array_equal(pixels, before)


def test_no_images_are_refused() -> None:
    with pytest.raises(ValueError, match="no images"):
        embedder(Sums()).embed(noise(0))


@pytest.mark.parametrize(
    ("name", "size"),
    [
        ("efficientnet-lite0", 128),
        ("timm:resnet18/random-0", 96),
        ("timm:efficientnet_b0/random-0", 96),
        ("timm:convnext_atto/random-0", 96),
        ("timm:test_nfnet/random-0", 160),
        ("timm:vit_tiny_patch16_224/random-0", 96),
        ("timm:vit_small_patch14_reg4_dinov2/random-0", 98),
        ("timm:vit_tiny_patch16_dinov3_qkvb/random-0", 96),
        ("timm:eva02_tiny_patch14_224/random-0", 98),
        ("timm:vit_pe_core_tiny_patch16_384/random-0", 96),
        ("open_clip:ViT-S-32-alt/random-3", 224),
    ],
)
def test_lower_precision_keeps_directions(name: str, size: int, photographs: list[Path]) -> None:
    overrides = PreprocessOverrides(image_size=size)
    model = describe(parse_model_name(name).model_copy(update={"preprocess": overrides}))
    pixels = decoded(photographs, model.preprocess)
    exact, *rounded = (
        load_image_embedder(model, Runtime(precision=precision)).embed(pixels)
        for precision in ("float32", "bfloat16", "float16")
    )
    # The images are further from each other than each is from itself: a constant vector would not pass.
    assert cosines(exact[:-1], exact[1:]).mean() < 0.95
    for vectors in rounded:
        assert vectors.dtype == np.float32
        assert not np.array_equal(exact, vectors)
        assert cosines(exact, vectors).mean() >= 0.999


@pytest.mark.slow
def test_a_compiled_tower_gives_the_same_vectors() -> None:
    """Also for a last micro-batch of another size. Compiling takes up to a minute on two cores."""
    model = describe(parse_model_name("timm:test_vit/random-0"))
    pixels = noise(5, model.preprocess.height, model.preprocess.width)
    eager, compiled = (
        load_image_embedder(model, Runtime(batch_size=2, compile=compile)).embed(pixels) for compile in (False, True)
    )
    assert cosines(eager, compiled).min() >= 0.9999


GPU = pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU"))


@pytest.mark.parametrize("device", ["cpu", GPU])
def test_threads_share_one_embedder(device: str) -> None:
    model = describe(parse_model_name("timm:test_vit/random-0"))
    shared = load_image_embedder(model, Runtime(precision="float32", device=device, batch_size=2))
    batches = [noise(n, model.preprocess.height, model.preprocess.width) for n in range(1, 9)]
    alone = [shared.embed(batch) for batch in batches]
    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(shared.embed, batches))
    assert all(np.array_equal(a, b) for a, b in zip(alone, together, strict=True))


@pytest.mark.parametrize("device", ["cpu", GPU])
def test_a_batch_found_by_trial_gives_the_vectors_of_any_other(device: str) -> None:
    """On a CPU there is no trial: 32 at a time."""
    model = describe(parse_model_name("timm:test_vit/random-0"))
    pixels = noise(70, model.preprocess.height, model.preprocess.width)
    fixed, found = (
        load_image_embedder(model, Runtime(device=device, batch_size=size, backend="torch")) for size in (7, "auto")
    )
    assert found.batch_size == 32 if device == "cpu" else found.batch_size in SIZES
    assert cosines(fixed.embed(pixels), found.embed(pixels)).min() >= 0.99999


def test_networks_with_a_conv3d_are_run() -> None:
    """timm's lambda networks; `Module.to(memory_format=channels_last)` refuses their 5-d weights."""
    model = describe(
        parse_model_name("timm:lambda_resnet26t/random-0").model_copy(
            update={"preprocess": PreprocessOverrides(image_size=128)}
        )
    )
    pixels = np.random.default_rng(0).integers(0, 256, (2, 128, 128, 3), np.uint8)
    ours = load_image_embedder(model, Runtime(backend="torch")).embed(pixels)

    torch.manual_seed(0)
    module = timm.create_model("lambda_resnet26t", num_classes=0).eval()
    mean, std = (torch.tensor(each) for each in (model.preprocess.mean, model.preprocess.std))
    with torch.inference_mode():
        theirs = module(((torch.from_numpy(pixels) / 255 - mean) / std).permute(0, 3, 1, 2)).numpy()
    assert (1 - cosines(ours, theirs)).max() <= 1e-5
