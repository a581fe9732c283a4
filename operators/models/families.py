"""The families of models and where their code is. To add one, add its file beside this one and a line here."""

FAMILIES = {
    "null": "operators.models.null",
    "efficientnet-lite": "operators.models.timm.efficientnet_lite",
    "open_clip": "operators.models.open_clip.family",
    "timm": "operators.models.timm.family",
    "saved": "operators.models.saved.family",
    "vertex": "operators.api.vertex",
}

DETECTORS = {
    "torchvision": "operators.models.detectors.torchvision",
    "transformers": "operators.models.detectors.transformers",
}
"""Family -> its code, for models that find objects, whose boxes become regions (`regions.kind` detector)."""

APIS = frozenset({"vertex"})
"""Families that are asked over the network: `operators.embed_api` embeds with them."""

LIGHT = frozenset({"null", *APIS})
"""Families without a network to load: they are resolved and run wherever they are asked for."""

IMPORTED = "imported"
"""The family of imported vectors' models. Pixlake knows of them what a user said: their vectors are compared, never
computed."""
