"""`python -m operators.models.describe`: a ModelSpec as JSON on stdin, its ModelDescription as JSON on stdout."""

import json
import sys

from operators.models.load import describe
from operators.models.spec import ModelError, ModelSpec


def main() -> None:
    spec = ModelSpec.model_validate_json(sys.stdin.read())
    try:
        print(describe(spec).model_dump_json())
    except ModelError as error:
        print(json.dumps({"error": str(error)}))


if __name__ == "__main__":
    main()
