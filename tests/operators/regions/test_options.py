"""What the key `regions` takes, and what it refuses where it is declared."""

import json
from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from operators.regions.options import RegionOptions

OPTIONS: TypeAdapter[Any] = TypeAdapter(RegionOptions)


@pytest.mark.parametrize(
    "given",
    [
        {"kind": "grid", "rows": 2, "columns": 3, "overlap": 0.25, "whole": True},
        {"kind": "tiles", "sizes": [128, 256], "layout": "multivector"},
        {"kind": "boxes", "column": "boxes", "format": "xywh", "normalized": True, "labels": "names"},
        {"kind": "detector", "model": "torchvision:ssdlite"},
        {"kind": "patches", "cells": 4},
        {"kind": "patches", "column": "boxes", "scores": "scores", "without_regions": "fail"},
    ],
    ids=lambda given: given["kind"],
)
def test_the_record_is_json_and_makes_the_same_options_again(given: dict[str, Any]) -> None:
    options = OPTIONS.validate_python(given)
    record = json.loads(json.dumps(options.record()))
    assert record.items() >= {**given, "max_regions": 64}.items()
    assert OPTIONS.validate_python(record) == options


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"kind": "grid", "rows": 9, "columns": 9}, "81 regions of every image.*set max_regions: 81"),
        ({"kind": "grid", "rows": 8, "columns": 8, "whole": True}, "65 regions of every image"),
        ({"kind": "grid", "rows": 2, "columns": 2, "overlap": 1.0}, "overlap"),
        ({"kind": "grid", "rows": 0, "columns": 2}, "rows"),
        ({"kind": "grid", "rows": 2, "columns": 2, "cells": 3}, "cells"),
        ({"kind": "tiles", "sizes": []}, "sizes"),
        ({"kind": "boxes"}, "column"),
        ({"kind": "patches"}, "either cells .* or column"),
        ({"kind": "patches", "cells": 2, "column": "boxes"}, "either cells .* or column"),
        ({"kind": "patches", "cells": 2, "labels": "names"}, "set column"),
        ({"kind": "patches", "cells": 9}, "81 regions"),
        ({"kind": "patches", "cells": 2, "resize": "squash"}, "resize"),
        ({"kind": "cells"}, "kind"),
    ],
)
def test_what_cannot_be_is_refused_by_its_key(given: dict[str, Any], says: str) -> None:
    with pytest.raises(ValidationError, match=f"(?s){says}"):
        OPTIONS.validate_python(given)


def test_the_manifest_columns_that_boxes_come_from() -> None:
    boxes = OPTIONS.validate_python({"kind": "boxes", "column": "b", "labels": "l", "scores": "s"})
    assert boxes.manifest_columns == ("b", "l", "s")
    assert OPTIONS.validate_python({"kind": "patches", "column": "b"}).manifest_columns == ("b",)
    assert OPTIONS.validate_python({"kind": "grid", "rows": 1, "columns": 2}).manifest_columns == ()
