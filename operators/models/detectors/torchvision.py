"""Object detectors of torchvision: any of `torchvision.models.detection`, with its own preprocessing and NMS."""

import threading
import urllib.error
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torchvision.models import detection, get_model, get_model_weights, list_models
from torchvision.models._api import WeightsEnum

from operators.base.errors import clean_message
from operators.models.detectors.load import Detections, Detector
from operators.models.detectors.spec import DetectorDescription
from operators.models.spec import ModelError, ModelSpec
from operators.models.weights.cache import cache_folder, locked
from operators.models.weights.find import LocalWeights, check_unchanged, find_weights
from operators.models.weights.tensors import apply_state_dict, load_tensors, sha256_of_module
from operators.regions.options import DetectorOptions
from operators.storage.stores import NO_OPTIONS, StorageOptions


def describe(spec: ModelSpec, storage: StorageOptions) -> DetectorDescription:
    _check_architecture(spec)
    weights = _find(spec, storage)
    config = _config(spec, weights)
    module = _build(spec, config, weights)
    return DetectorDescription(
        spec=spec,
        network={"name": spec.architecture, **config},
        weights_sha256=weights.sha256 if weights else sha256_of_module(module),
        weights_uri=weights.uri if weights else None,
        architecture_config=config,
        classes=_classes(spec, config["num_classes"]),
        num_parameters=sum(p.numel() for p in module.parameters()),
    )


def load_detector(
    description: DetectorDescription, options: DetectorOptions, device: str, storage: StorageOptions
) -> Detector:
    spec = description.spec
    weights = _find(spec, storage, description.weights_sha256) if description.weights_uri else None
    module = _build(spec, description.architecture_config, weights)
    if weights is None:
        check_unchanged(description.spec, description.weights_sha256, sha256_of_module(module))
    return TorchvisionDetector(module, options, device)


class TorchvisionDetector:
    """`module` as torchvision builds it, with its threshold, and its NMS where asked for, set from `options`."""

    def __init__(self, module: Any, options: DetectorOptions, device: str) -> None:
        # Detectors of two stages keep the settings in the second.
        settings = getattr(module, "roi_heads", module)
        settings.score_thresh = options.threshold
        if options.nms_iou is not None:
            settings.nms_thresh = options.nms_iou
        torch.backends.cudnn.allow_tf32 = False
        self.module = module.eval().requires_grad_(False).to(device)
        self.device = device
        self.lock = threading.Lock()

    def detect(self, images_NHWC: np.ndarray) -> list[Detections]:
        """See `Detector.detect`."""
        with self.lock, torch.inference_mode():
            images = torch.from_numpy(images_NHWC).to(self.device).permute(0, 3, 1, 2).to(torch.float32) / 255
            found = self.module(list(images))
        return [Detections(*(each[key].cpu().numpy() for key in ("boxes", "labels", "scores"))) for each in found]


def _check_architecture(spec: ModelSpec) -> None:
    known = list_models(module=detection)
    if spec.architecture not in known:
        raise ModelError(f"detector {spec.name!r}: torchvision has {', '.join(known)}")
    tags = [member.name for member in get_model_weights(spec.architecture)]
    if spec.pretrained and spec.pretrained not in tags:
        raise ModelError(f"detector {spec.name!r}: torchvision has no such weights; it has {', '.join(tags)}")


def _find(spec: ModelSpec, storage: StorageOptions, sha256: str | None = None) -> LocalWeights | None:
    """The weights file on this node; None for random weights. For torchvision's own weights the URI is
    torchvision's."""
    if spec.seed is not None:
        return None
    if spec.weights:
        return find_weights(spec, spec.weights, storage, sha256)
    member = get_model_weights(spec.architecture)[spec.pretrained]
    found = find_weights(spec, _downloaded(spec, member), NO_OPTIONS, sha256)
    return found._replace(uri=member.url)


def _downloaded(spec: ModelSpec, member: WeightsEnum) -> str:
    """torchvision's file in this node's cache; processes that want it wait for the download of the first."""
    path = cache_folder() / "torchvision" / member.url.rpartition("/")[2]
    with locked(path.with_suffix(".lock")):
        if not path.exists():
            try:
                torch.hub.download_url_to_file(member.url, str(path), _hash_in_name(member), progress=False)
            except (urllib.error.URLError, OSError, RuntimeError) as error:
                raise ModelError(
                    f"detector {spec.name!r}: {member.url} could not be downloaded ({clean_message(str(error))}); "
                    f"check the network, or name a copy of the file: torchvision:{spec.architecture}@PATH"
                ) from error
    return str(path)


def _hash_in_name(member: WeightsEnum) -> str:
    """The first 8 hex digits of the file's sha256, which torchvision puts into its name."""
    return str(member.url).rpartition("-")[2].partition(".")[0]


def _config(spec: ModelSpec, weights: LocalWeights | None) -> dict[str, Any]:
    """How many classes the network has, and the tag of torchvision's own weights, for which it builds another network:
    a copy of such a file is known by its hash."""
    members = get_model_weights(spec.architecture)
    for member in members:
        if weights and weights.sha256.startswith(_hash_in_name(member)):
            return {"num_classes": len(member.meta["categories"]), "tag": member.name}
    own = len(members.DEFAULT.meta["categories"])
    if weights is None:
        return {"num_classes": own, "tag": None}
    fresh = get_model(spec.architecture, weights=None, weights_backbone=None, num_classes=own).state_dict()
    return {"num_classes": _num_classes(load_tensors(spec, weights), fresh, own), "tag": None}


def _num_classes(state: dict[str, torch.Tensor], fresh: dict[str, torch.Tensor], own: int) -> int:
    """The number of classes of a fine-tuned file: its predictors are longer or shorter than the architecture's own by
    that ratio."""
    for key, tensor in fresh.items():
        if key in state and state[key].ndim == tensor.ndim and state[key].shape[:1] != tensor.shape[:1]:
            return len(state[key]) * own // len(tensor)
    return own


def _build(spec: ModelSpec, config: dict[str, Any], weights: LocalWeights | None) -> torch.nn.Module:
    num_classes, tag = config["num_classes"], config["tag"]
    torch.manual_seed(spec.seed or 0)
    if weights is not None and tag is not None:
        member = get_model_weights(spec.architecture)[tag]
        with _loading_from(member, load_tensors(spec, weights)):
            own: torch.nn.Module = get_model(spec.architecture, weights=member)
        return own.eval()
    module: torch.nn.Module = get_model(spec.architecture, weights=None, weights_backbone=None, num_classes=num_classes)
    if weights is not None:
        # Fine-tuned from torchvision's, a network has frozen norms, which compute the same and count no batches.
        counts = {key: tensor for key, tensor in module.state_dict().items() if key.endswith("num_batches_tracked")}
        apply_state_dict(spec, module, {**counts, **load_tensors(spec, weights)})
    return module.eval()


@contextmanager
def _loading_from(member: WeightsEnum, state: dict[str, torch.Tensor]) -> Iterator[None]:
    """Makes torchvision take `state`: for its own weights it builds another network (frozen norms, with another
    epsilon), and would download them while it does."""
    member.get_state_dict = lambda *_args, **_options: state  # type: ignore[method-assign]
    try:
        yield
    finally:
        del member.get_state_dict


def _classes(spec: ModelSpec, num_classes: int) -> tuple[str, ...]:
    """The class names of torchvision's own weights, where the number is the same."""
    names = get_model_weights(spec.architecture).DEFAULT.meta["categories"]
    if len(names) != num_classes:
        return ("",) * num_classes
    return tuple("" if name in ("__background__", "N/A") else name for name in names)
