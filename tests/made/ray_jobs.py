"""What KubeRay takes for a RayJob (v1), as far as the examples use it."""

from typing import Any


def fields(required: tuple[str, ...] = (), **properties: Any) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": properties,
        "required": list(required),
        "additionalProperties": False,
    }


def many(item: dict[str, Any]) -> dict[str, Any]:
    return {"type": "array", "items": item, "minItems": 1}


TEXT, WHOLE = {"type": "string"}, {"type": "integer", "minimum": 0}
TEXTS = {"type": "object", "additionalProperties": TEXT}
QUANTITIES = {
    "type": "object",
    "additionalProperties": {"type": "string", "pattern": r"^[0-9]+(\.[0-9]+)?(m|[KMGT]i?)?$"},
}
POD = fields(
    ("spec",),
    spec=fields(
        ("containers",),
        containers=many(
            fields(
                ("name", "image"),
                name=TEXT,
                image=TEXT,
                resources=fields(requests=QUANTITIES, limits=QUANTITIES),
                envFrom=many(fields(secretRef=fields(("name",), name=TEXT))),
                volumeMounts=many(fields(("name", "mountPath"), name=TEXT, mountPath=TEXT)),
            )
        ),
        volumes=many(fields(("name",), name=TEXT, configMap=fields(name=TEXT))),
    ),
)
RAY_JOB = fields(
    ("apiVersion", "kind", "metadata", "spec"),
    apiVersion={"const": "ray.io/v1"},
    kind={"const": "RayJob"},
    metadata=fields(("name",), name={"type": "string", "pattern": r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$", "maxLength": 47}),
    spec=fields(
        ("entrypoint", "rayClusterSpec"),
        entrypoint=TEXT,
        shutdownAfterJobFinishes={"type": "boolean"},
        ttlSecondsAfterFinished=WHOLE,
        backoffLimit=WHOLE,
        rayClusterSpec=fields(
            ("headGroupSpec",),
            rayVersion=TEXT,
            headGroupSpec=fields(("template",), rayStartParams=TEXTS, template=POD),
            workerGroupSpecs=many(
                fields(
                    ("groupName", "template", "minReplicas", "maxReplicas"),
                    groupName=TEXT,
                    replicas=WHOLE,
                    minReplicas=WHOLE,
                    maxReplicas=WHOLE,
                    rayStartParams=TEXTS,
                    template=POD,
                )
            ),
        ),
    ),
)
"""Of KubeRay's RayJob (v1) the fields that the example uses, and no others: a misspelt one is refused."""
