"""The family that docs/adding-a-family.md adds: its code, taken out of the page, keeps what a family promises."""

import hashlib
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from torchvision.models import get_model, get_model_weights

from made.photographs import cosines, decoded
from operators.models.families import FAMILIES
from operators.models.load import describe, load_image_embedder
from operators.models.runtime import Runtime
from operators.models.spec import ModelDescription, ModelError, ModelSpec, parse_model_name

PAGE = Path(__file__).parents[3] / "docs" / "adding-a-family.md"


@pytest.fixture(autouse=True)
def family(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """The page's first block as a module, under the name that the page's line gives it."""
    code, line, *_ = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    [(name, _)] = re.findall(r'"(\w+)": "([\w.]+)"', line)
    folder = tmp_path_factory.mktemp("family")
    (folder / "family_of_the_page.py").write_text(code)
    monkeypatch.syspath_prepend(folder)
    monkeypatch.setitem(FAMILIES, name, "family_of_the_page")


def plain(architecture: str) -> Any:
    torch.manual_seed(3)
    return get_model(architecture, weights=None).eval()


def without_classifier(architecture: str) -> Any:
    module = plain(architecture)
    if architecture.startswith("resnet"):
        module.fc = torch.nn.Identity()
    elif architecture.startswith("mobilenet"):
        module.classifier[-1] = torch.nn.Identity()
    return module


@pytest.mark.parametrize("architecture", ["resnet18", "mobilenet_v3_small"])
def test_vectors_are_those_of_the_plain_library(architecture: str, photographs: list[Path]) -> None:
    model = describe(parse_model_name(f"torchvision:{architecture}/random-3"))
    pixels = decoded(photographs, model.preprocess)
    ours = load_image_embedder(model, Runtime(batch_size=3)).embed(pixels)
    assert ours.shape == (len(photographs), model.dim)

    module = without_classifier(architecture)
    transform = get_model_weights(architecture).DEFAULT.transforms()
    inputs = torch.stack([transform(Image.open(path).convert("RGB")) for path in photographs])
    mean, std = (np.array(values, np.float32) for values in (transform.mean, transform.std))
    same = torch.from_numpy((pixels / np.float32(255) - mean) / std).permute(0, 3, 1, 2)
    with torch.inference_mode():
        theirs, given_our_pixels = module(inputs).numpy(), module(same).numpy()
    assert cosines(ours, theirs).min() >= 0.9999
    assert cosines(ours, given_our_pixels).min() >= 0.99999


def test_a_file_gives_the_vectors_of_its_weights_from_the_description_alone(tmp_path: Path) -> None:
    state = plain("resnet18").state_dict()
    safe, pickled = tmp_path / "w.safetensors", tmp_path / "w.pth"
    save_file(state, safe)
    torch.save(state, pickled)
    pixels = np.random.default_rng(0).integers(0, 256, (2, 224, 224, 3), np.uint8)
    digest = hashlib.sha256(pickled.read_bytes()).hexdigest()
    specs: list[ModelSpec] = [
        parse_model_name("torchvision:resnet18/random-3"),
        parse_model_name(f"torchvision:resnet18@{safe}"),
        parse_model_name(f"torchvision:resnet18@{pickled}", digest),
    ]
    vectors = [
        load_image_embedder(ModelDescription.model_validate_json(describe(spec).model_dump_json()), Runtime()).embed(
            pixels
        )
        for spec in specs
    ]
    assert np.array_equal(vectors[0], vectors[1])
    assert np.array_equal(vectors[0], vectors[2])
    del state["layer1.0.conv1.weight"]
    save_file(state, safe)
    with pytest.raises(ModelError, match=r"missing layer1\.0\.conv1\.weight$"):
        describe(specs[1])


@pytest.mark.parametrize(
    ("name", "options", "says"),
    [
        ("torchvision:resnet18/random-0", {"pooling": "cls"}, "set model.pooling to one of default"),
        ("torchvision:resnet18/random-0", {"layer": 2}, "leave model.layer out"),
        ("torchvision:resnet181/random-0", {}, "torchvision has no architecture 'resnet181'"),
        ("torchvision:resnet18", {}, "name a weights file: torchvision:resnet18@PATH"),
    ],
)
def test_what_it_cannot_do_says_what_to_do(name: str, options: dict[str, object], says: str) -> None:
    with pytest.raises(ModelError) as error:
        describe(parse_model_name(name).model_copy(update=options))
    assert says in str(error.value)
