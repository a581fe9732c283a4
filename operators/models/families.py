"""The families of models and where their code is. Adding one is its file beside this and a line here."""

FAMILIES = {
    "null": "operators.models.null",
    "efficientnet-lite": "operators.models.efficientnet_lite",
    "open_clip": "operators.models.open_clip",
    "timm": "operators.models.timm",
    "vertex": "operators.models.vertex",
}

DETECTORS = {
    "torchvision": "operators.models.torchvision_detector",
    "transformers": "operators.models.transformers_detector",
}
"""The same for models that find objects, whose boxes become regions (`regions.kind` detector)."""

APIS = frozenset({"vertex"})
"""Of these, the ones that are asked over the network: `operators.embed_api` embeds with them."""
