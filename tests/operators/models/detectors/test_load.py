"""Object detectors against the plain libraries on the same pixels, and what is said of weights that do not fit."""

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torchvision.models import get_model, get_model_weights
from transformers import (
    AutoImageProcessor,
    AutoModelForObjectDetection,
    DetrConfig,
    DetrForObjectDetection,
    DetrImageProcessor,
    ResNetConfig,
    ViTConfig,
    ViTModel,
)

from made.square_detector import write_square_detector
from operators.models.detectors.load import Detections, describe_detector, load_detector
from operators.models.detectors.spec import DetectorDescription, class_numbers, parse_detector_name
from operators.models.resolve import WantedDetector, resolving_detector
from operators.models.spec import ModelError
from operators.regions.options import DetectorOptions

SMALL = "fasterrcnn_mobilenet_v3_large_320_fpn"
LABELS = {0: "cat", 1: "dog", 2: "N/A"}


def images(count: int = 2) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (count, 96, 160, 3), np.uint8)


def options(**given: Any) -> DetectorOptions:
    return DetectorOptions(kind="detector", **{"model": "any", "threshold": 0.0, **given})


def detected(name: str, sha256: str | None = None, **given: Any) -> list[Detections]:
    """As a worker does it, which has the description alone."""
    described = describe_detector(parse_detector_name(name, sha256))
    there = DetectorDescription.model_validate_json(described.model_dump_json())
    return load_detector(there, options(**given)).detect(images())


def check_same(ours: list[Detections], theirs: list[dict[str, torch.Tensor]]) -> None:
    assert len(ours) == len(theirs)
    for own, each in zip(ours, theirs, strict=True):
        order = each["scores"].argsort(descending=True, stable=True)
        assert len(own.boxes) == len(order) > 0
        assert np.allclose(own.boxes, each["boxes"][order], atol=1e-3)
        assert np.allclose(own.scores, each["scores"][order], atol=1e-5)
        assert (own.classes == each["labels"][order].numpy()).all()


def plain_torchvision(seed: int = 0, **given: Any) -> Any:
    torch.manual_seed(seed)
    return get_model(SMALL, weights=None, weights_backbone=None, **given).eval()


def run_plain(module: Any) -> list[dict[str, torch.Tensor]]:
    pixels = torch.from_numpy(images()).permute(0, 3, 1, 2) / 255
    with torch.inference_mode():
        found: list[dict[str, torch.Tensor]] = module(list(pixels))
    return found


def test_torchvision_finds_what_the_plain_library_finds() -> None:
    check_same(detected(f"torchvision:{SMALL}/random-0"), run_plain(plain_torchvision(box_score_thresh=0.0)))


def test_a_fine_tuned_file_says_how_many_classes_it_has(tmp_path: Path) -> None:
    """Frozen norms, as those of a network that was made from torchvision's own weights, count no batches."""
    module = plain_torchvision(3, num_classes=4, box_score_thresh=0.0)
    with torch.no_grad():
        # Fresh, it would score all alike.
        module.roi_heads.box_predictor.cls_score.weight.mul_(500)
    state = {key: value for key, value in module.state_dict().items() if not key.endswith("num_batches_tracked")}
    safe, pickled = tmp_path / "w.safetensors", tmp_path / "w.pth"
    save_file(state, safe)
    torch.save(state, pickled)
    described = describe_detector(parse_detector_name(f"torchvision:{SMALL}@{safe}"))
    assert described.classes == ("",) * 4
    every = detected(f"torchvision:{SMALL}@{safe}")
    check_same(every, run_plain(module))
    module.roi_heads.score_thresh, module.roi_heads.nms_thresh = 0.4, 0.2
    strict = detected(f"torchvision:{SMALL}@{safe}", threshold=0.4, nms_iou=0.2)
    check_same(strict, run_plain(module))
    assert len(strict[0].boxes) < len(every[0].boxes)
    digest = hashlib.sha256(pickled.read_bytes()).hexdigest()
    assert describe_detector(parse_detector_name(f"torchvision:{SMALL}@{pickled}", digest)).classes == ("",) * 4
    with pytest.raises(ModelError, match=rf"is a pickle.* --set regions\.sha256={digest}$"):
        describe_detector(parse_detector_name(f"torchvision:{SMALL}@{pickled}"))
    del state["backbone.fpn.inner_blocks.0.0.weight"]
    save_file(state, safe)
    with pytest.raises(ModelError, match=r"missing backbone\.fpn\.inner_blocks\.0\.0\.weight"):
        describe_detector(parse_detector_name(f"torchvision:{SMALL}@{safe}"))


def test_torchvisions_own_weights_are_downloaded_pinned_and_built_as_it_builds_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From another address, since nothing is downloaded in tests: a file of the name that torchvision would give it."""
    member, made = get_model_weights(SMALL)["COCO_V1"], tmp_path / "made.pth"
    state = plain_torchvision(5).state_dict()
    torch.save({key: value for key, value in state.items() if not key.endswith("num_batches_tracked")}, made)
    digest = hashlib.sha256(made.read_bytes()).hexdigest()
    published = made.rename(tmp_path / f"net-{digest[:8]}.pth")
    monkeypatch.setattr(member.value, "url", published.as_uri())
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    name = f"torchvision:{SMALL}/COCO_V1"
    with pytest.raises(ModelError, match=rf"--set regions\.sha256={digest}$"):
        describe_detector(parse_detector_name(name))
    described = describe_detector(parse_detector_name(name, digest))
    assert described.weights_uri == published.as_uri()
    assert described.classes[:2] == ("", "person")
    ours = detected(name, digest)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "hub"))
    check_same(ours, run_plain(get_model(SMALL, weights=member, box_score_thresh=0.0).eval()))
    # A copy of the file is the same network, whatever its name.
    copy = described.network, detected(f"torchvision:{SMALL}@{published.rename(tmp_path / 'copy.pth')}", digest)
    assert copy[0]["tag"] == "COCO_V1"
    assert np.array_equal(copy[1][0].boxes, ours[0].boxes)


def write_detr(folder: Path) -> Path:
    torch.manual_seed(1)
    backbone = ResNetConfig(embedding_size=8, hidden_sizes=[8, 8, 16, 16], depths=[1, 1, 1, 1], layer_type="basic")
    backbone.out_features = ["stage4"]
    sizes = {"d_model": 32, "encoder_ffn_dim": 32, "decoder_ffn_dim": 32, "num_queries": 12}
    layers = {"encoder_layers": 1, "decoder_layers": 1, "encoder_attention_heads": 2, "decoder_attention_heads": 2}
    config = DetrConfig(backbone_config=backbone, use_timm_backbone=False, id2label=LABELS, **sizes, **layers)
    DetrForObjectDetection(config).save_pretrained(folder)
    DetrImageProcessor(size={"shortest_edge": 120, "longest_edge": 200}).save_pretrained(folder)
    return folder


def test_transformers_finds_what_the_plain_library_finds(tmp_path: Path) -> None:
    folder = write_detr(tmp_path / "detr")
    processor = AutoImageProcessor.from_pretrained(folder)
    model = AutoModelForObjectDetection.from_pretrained(folder).eval()
    with torch.inference_mode():
        outputs = model(**processor(images=list(images()), return_tensors="pt"))
    theirs = processor.post_process_object_detection(outputs, threshold=0.0, target_sizes=[(96, 160)] * 2)
    check_same(detected(f"transformers:{folder}"), theirs)
    described = describe_detector(parse_detector_name(f"transformers:{folder}"))
    assert described.classes == ("cat", "dog", "")
    assert described.network["name"] == "detr"


def test_overlapping_boxes_of_one_class_are_one_where_asked(tmp_path: Path) -> None:
    folder = write_square_detector(tmp_path / "squares", tokens=3)
    square = np.full((1, 128, 128, 3), 128, np.uint8)
    square[:, 32:64, 16:80] = (220, 20, 30)
    described = describe_detector(parse_detector_name(f"transformers:{folder}"))
    for nms_iou, count in ((None, 3), (0.5, 1)):
        (found,) = load_detector(described, options(threshold=0.5, nms_iou=nms_iou)).detect(square)
        assert np.allclose(found.boxes, [[16, 32, 80, 64]] * count, atol=0.05)


def test_weights_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    folder = write_detr(tmp_path / "detr")
    state = load_file(folder / "model.safetensors")
    gone = next(key for key in state if key.startswith("class_labels_classifier"))
    save_file({key: value for key, value in state.items() if key != gone}, folder / "model.safetensors")
    with pytest.raises(ModelError, match=rf"do not fit DetrForObjectDetection: missing {gone}$"):
        describe_detector(parse_detector_name(f"transformers:{folder}"))


def test_a_model_of_another_kind_is_refused(tmp_path: Path) -> None:
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    ViTModel(ViTConfig(**sizes, image_size=32)).save_pretrained(tmp_path)
    DetrImageProcessor().save_pretrained(tmp_path)
    with pytest.raises(ModelError, match=r"type 'vit' is no object detector; transformers has .*detr.*yolos"):
        describe_detector(parse_detector_name(f"transformers:{tmp_path}"))


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("yolo", "no such model. Use torchvision:NAME/TAG"),
        ("timm:resnet18/random-0", "no such model. Use torchvision:NAME/TAG"),
        (f"torchvision:{SMALL}", "say which weights"),
        ("torchvision:resnet18/COCO_V1", f"torchvision has {SMALL}"),
        (f"torchvision:{SMALL}/COCO_V9", "torchvision has no such weights; it has COCO_V1"),
        ("transformers:/nowhere/at/all", "/nowhere/at/all/model.safetensors is not there"),
        (f"torchvision:{SMALL}@s3://bucket/w.pth?X-Amz-Signature=abc", "leave credentials and signatures out"),
    ],
)
def test_what_cannot_be_had_says_what_can(name: str, says: str) -> None:
    with pytest.raises(ModelError) as error:
        describe_detector(parse_detector_name(name))
    assert says in str(error.value)


def test_the_driver_resolves_a_detector_in_a_process_of_its_own(tmp_path: Path) -> None:
    folder = write_square_detector(tmp_path / "squares")
    spec = parse_detector_name(f"transformers:{folder}")
    with resolving_detector(WantedDetector(spec=spec, classes=("square",))) as resolved:
        assert resolved() == describe_detector(spec)


def test_classes_are_named_or_numbered() -> None:
    described = DetectorDescription(
        spec=parse_detector_name("transformers:/x"), network="n", weights_sha256="", classes=("", "cat", "dog"),
        num_parameters=0,
    )  # fmt: skip
    assert class_numbers(described, ()) is None
    assert class_numbers(described, ("dog", 1)) == {1, 2}
    for unknown in ("bird", 3, ""):
        with pytest.raises(ModelError, match="it knows cat, dog, and numbers up to 2"):
            class_numbers(described, (unknown,))
