"""Object detectors of Hugging Face transformers: any `AutoModelForObjectDetection`, from the hub or a folder."""

import hashlib
import json
import threading
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from torchvision.ops import batched_nms
from transformers import AutoConfig, AutoImageProcessor
from transformers.models.auto.modeling_auto import MODEL_FOR_OBJECT_DETECTION_MAPPING
from transformers.utils import logging

from operators.base.errors import clean_message
from operators.models.detectors.load import Detections, Detector
from operators.models.detectors.spec import DetectorDescription
from operators.models.spec import ModelError, ModelSpec
from operators.models.weights.find import LocalWeights, find_first_weights, find_weights
from operators.models.weights.hub import hub_file
from operators.models.weights.tensors import load_tensors
from operators.regions.options import DetectorOptions
from operators.storage.stores import NO_OPTIONS, StorageOptions

WEIGHTS = ("model.safetensors", "pytorch_model.bin")
CONFIGS = {"config": "config.json", "processor": "preprocessor_config.json"}

logging.set_verbosity_error()
logging.disable_progress_bar()


def describe(spec: ModelSpec, storage: StorageOptions) -> DetectorDescription:
    weights = _find(spec)
    configs = {key: _read(spec, weights, name) for key, name in CONFIGS.items()}
    # The inverse of `id2label`.
    configs["config"].pop("label2id", None)
    model, _ = _build(spec, configs, weights)
    canonical = json.dumps(configs, sort_keys=True).encode()
    labels = model.config.id2label
    return DetectorDescription(
        spec=spec,
        network={"name": model.config.model_type, "configs_sha256": hashlib.sha256(canonical).hexdigest()},
        weights_sha256=weights.sha256,
        weights_uri=weights.uri,
        architecture_config=configs,
        classes=tuple("" if labels.get(n) in (None, "N/A") else str(labels[n]) for n in range(max(labels) + 1)),
        num_parameters=model.num_parameters(),
    )


def load_detector(
    description: DetectorDescription, options: DetectorOptions, device: str, storage: StorageOptions
) -> Detector:
    assert description.weights_uri is not None
    weights = find_weights(description.spec, description.weights_uri, storage, description.weights_sha256)
    return TransformersDetector(*_build(description.spec, description.architecture_config, weights), options, device)


class TransformersDetector:
    """`model`, with the preprocessing and the box decoding of its own image processor."""

    def __init__(self, model: Any, processor: Any, options: DetectorOptions, device: str) -> None:
        torch.backends.cudnn.allow_tf32 = False
        self.model = model.eval().requires_grad_(False).to(device)
        self.processor = processor
        self.threshold, self.nms_iou = options.threshold, options.nms_iou
        self.device = device
        self.lock = threading.Lock()

    def detect(self, images_NHWC: np.ndarray) -> list[Detections]:
        """See `Detector.detect`."""
        sizes = [images_NHWC.shape[1:3]] * len(images_NHWC)
        with self.lock, torch.inference_mode():
            # An image 1 or 3 pixels high would be taken for one with its channels first.
            inputs = self.processor(images=list(images_NHWC), input_data_format="channels_last", return_tensors="pt")
            inputs = inputs.to(self.device)
            outputs = self.model(**inputs)
            found = self.processor.post_process_object_detection(outputs, threshold=self.threshold, target_sizes=sizes)
        return [self._best_first(each["boxes"], each["labels"], each["scores"]) for each in found]

    def _best_first(self, boxes: torch.Tensor, labels: torch.Tensor, scores: torch.Tensor) -> Detections:
        if self.nms_iou is None:
            order = scores.argsort(descending=True, stable=True)
        else:
            order = batched_nms(boxes, scores, labels, self.nms_iou)
        return Detections(*(each[order].cpu().numpy() for each in (boxes, labels, scores)))


def _find(spec: ModelSpec) -> LocalWeights:
    """The weights file on this node: safetensors if there is one; a folder or repository with only a pickle needs a
    pin."""
    source, _, place = spec.architecture.partition(":")
    if source == "hf-hub":
        return find_first_weights(spec, [f"hf://{place}/{name}" for name in WEIGHTS], NO_OPTIONS)
    there = [name for name in WEIGHTS if (Path(place) / name).is_file()]
    return find_weights(spec, str(Path(place) / (there or WEIGHTS)[0]), NO_OPTIONS)


def _read(spec: ModelSpec, weights: LocalWeights, name: str) -> dict[str, Any]:
    """A JSON file beside the weights, from the same commit."""
    source, _, place = spec.architecture.partition(":")
    path = f"{place}/{name}"
    if source == "hf-hub":
        path = hub_file(spec, f"hf://{place}/{name}@{weights.uri.rpartition('@')[2]}").path
    try:
        content: dict[str, Any] = json.loads(Path(path).read_text())
    except (OSError, ValueError) as error:
        raise ModelError(f"detector {spec.name!r}: {path} cannot be read: {clean_message(str(error))}") from error
    return content


def _build(spec: ModelSpec, configs: dict[str, Any], weights: LocalWeights) -> tuple[Any, Any]:
    """(model, image processor). Raises `ModelError` where it is not an object detector, or lacks weights."""
    try:
        with TemporaryDirectory(prefix="pixlake-") as folder:
            for key, name in CONFIGS.items():
                (Path(folder) / name).write_text(json.dumps(configs[key]))
            config = AutoConfig.from_pretrained(folder, trust_remote_code=False)
            processor = AutoImageProcessor.from_pretrained(folder, trust_remote_code=False)
    except Exception as error:
        raise ModelError(f"detector {spec.name!r}: transformers cannot read it: {clean_message(str(error))}") from error
    if type(config) not in MODEL_FOR_OBJECT_DETECTION_MAPPING:
        raise ModelError(
            f"detector {spec.name!r}: a model of type {config.model_type!r} is no object detector; transformers has "
            + ", ".join(sorted(known.model_type for known in MODEL_FOR_OBJECT_DETECTION_MAPPING))
        )
    family = MODEL_FOR_OBJECT_DETECTION_MAPPING[type(config)]
    state = load_tensors(spec, weights)
    try:
        model, told = family.from_pretrained(
            None, config=config, state_dict=state, dtype=torch.float32, output_loading_info=True
        )
    except Exception as error:
        raise ModelError(
            f"detector {spec.name!r}: transformers cannot build it: {clean_message(str(error))}"
        ) from error
    # What is missing would stay random, and only a warning would say so.
    amiss = [f"missing {key}" for key in sorted(told["missing_keys"])]
    amiss += [f"{key[0] if isinstance(key, tuple) else key} is of another shape" for key in told["mismatched_keys"]]
    if amiss:
        raise ModelError(f"detector {spec.name!r}: the weights do not fit {family.__name__}: {'; '.join(amiss[:5])}")
    return model, processor
