"""`python -m operators.models.describe`: a pickled (ModelSpec, StorageOptions) in, a ModelDescription as JSON out."""

import json
import pickle
import sys

from operators.models.load import describe
from operators.models.spec import ModelError


def main() -> None:
    # A pickle, and not JSON: a dump of the options masks their secrets. It comes from our own parent process.
    spec, storage = pickle.load(sys.stdin.buffer)
    try:
        print(describe(spec, storage).model_dump_json())
    except ModelError as error:
        print(json.dumps({"error": str(error)}))


if __name__ == "__main__":
    main()
