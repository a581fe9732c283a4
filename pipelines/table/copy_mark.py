"""What stands in the metadata of a table that `pixlake rewrite` has made, from its first moment on."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass

COPY_KEY = "pixlake.copy_of"


@dataclass(frozen=True, kw_only=True)
class CopyMark:
    """Of which table it is a copy; until it is `whole`, nothing may be written to it but by the command itself."""

    table: str
    """URI of the vector table that was copied."""
    version: int
    """Of that table, for both."""
    whole: bool

    def to_json(self) -> str:
        return json.dumps(asdict(self))


def read_copy_mark(metadata: Mapping[str, str]) -> CopyMark | None:
    stored = metadata.get(COPY_KEY)
    return None if stored is None else CopyMark(**json.loads(stored))
