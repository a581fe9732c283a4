"""Whether a job's blocks carry images or pixels."""

from dataclasses import replace

import pyarrow as pa

from pipelines.balance.settle import is_light
from pipelines.manifests.manifest import Columns
from pipelines.run.stage import BlockParts, Resources, Stage

WHOLE = Stage(name="fetch", operators=(), resources=Resources(num_actors=1))
IN_PARTS = replace(WHOLE, name="embed", parts=BlockParts(first=1, rows=160))


def test_blocks_are_light_where_one_stage_does_all_in_parts() -> None:
    assert is_light(Columns(), [IN_PARTS])
    assert not is_light(Columns(), [WHOLE])
    assert not is_light(Columns(), [WHOLE, IN_PARTS]), "what one fetches goes to the other"
    assert not is_light(Columns(image=pa.field("jpg", pa.binary())), [IN_PARTS])
    assert not is_light(Columns(), []), "as ready vectors"
