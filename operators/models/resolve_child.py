"""`python -m operators.models.resolve_child`: reads a pickled list of `WantedModel`, or a `WantedDetector`, from stdin;
writes what they resolve to as JSON to stdout."""

import json
import pickle
import sys
from dataclasses import replace
from typing import Any

from operators.models.canaries import CanaryError, canary_pixels, record_canaries
from operators.models.detectors.load import describe_detector
from operators.models.detectors.spec import class_numbers
from operators.models.load import check_regions, describe, device_name, load_image_embedder
from operators.models.resolve import WantedDetector, WantedModel
from operators.models.spec import ModelDescription, ModelError


def _resolve(wanted: WantedModel) -> dict[str, Any]:
    description = describe(wanted.spec, wanted.runtime.storage)
    if wanted.patches:
        check_regions(description, wanted.runtime)
    canaries = _canaries(description, wanted) if wanted.canaries else None
    return {"description": description.model_dump(mode="json"), "canaries": canaries}


def _canaries(description: ModelDescription, wanted: WantedModel) -> dict[str, Any]:
    runtime = replace(wanted.runtime, compile=False)
    if device_name(runtime.device) is None:
        # The driver of a GPU cluster may have none; the workers check theirs against these.
        runtime = replace(runtime, device="cpu")
    vectors = load_image_embedder(description, runtime).embed(canary_pixels(description.preprocess))
    recorded = record_canaries(
        vectors,
        name=wanted.spec.name,
        precision=runtime.precision,
        device=device_name(runtime.device) or runtime.device,
    )
    return recorded.model_dump(mode="json")


def _resolve_detector(wanted: WantedDetector) -> dict[str, Any]:
    description = describe_detector(wanted.spec, wanted.storage)
    class_numbers(description, wanted.classes)
    return description.model_dump(mode="json")


def main() -> None:
    # It comes from our own parent process.
    asked: list[WantedModel] | WantedDetector = pickle.load(sys.stdin.buffer)
    try:
        if isinstance(asked, WantedDetector):
            print(json.dumps({"detector": _resolve_detector(asked)}))
        else:
            print(json.dumps({"models": [_resolve(each) for each in asked]}))
    except (ModelError, CanaryError) as error:
        print(json.dumps({"error": str(error)}))


if __name__ == "__main__":
    main()
