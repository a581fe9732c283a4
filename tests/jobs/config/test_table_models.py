from typing import Any

import pyarrow as pa
import pytest

from jobs.config.embed import EmbedConfig
from jobs.config.model_names import ModelConfig
from jobs.config.table_models import with_table_models
from pipelines.space.field import SETTINGS_KEY
from pipelines.swap.state import SWAP_KEY, Swap
from pipelines.table.errors import RefusedError
from pipelines.table.fenced_table import Term
from pipelines.table.open import TableInfo

NEW = {"name": "null", "pooling": "avg"}
BASE = {"source": {"uri": "m.parquet"}, "table": "lake/photos"}


def table(columns: dict[str, dict[str, Any] | None], swap: Swap | None = None) -> TableInfo:
    """A table with vector columns, of which some have the settings of their models recorded."""
    fields = [
        pa.field(
            name,
            pa.list_(pa.float16(), 4),
            metadata=None if each is None else {SETTINGS_KEY: ModelConfig(**each).model_dump_json().encode()},
        )
        for name, each in columns.items()
    ]
    return TableInfo(
        version=1,
        schema=pa.schema(fields),
        metadata={} if swap is None else {SWAP_KEY: swap.model_dump_json()},
        failures_metadata={},
        vectors=1,
        failures=0,
        made_by_pixlake=True,
        term=Term.read({}),
    )


def columns(existing: TableInfo | None, **given: Any) -> dict[str, dict[str, Any]]:
    found = with_table_models(EmbedConfig.model_validate({**BASE, **given}), existing).columns
    return {name: model.model_dump(exclude_defaults=True) for name, model in found.items()}


def test_a_table_that_records_nothing_leaves_the_job_as_it_is() -> None:
    config = EmbedConfig.model_validate(BASE)
    assert with_table_models(config, None) is config
    assert with_table_models(config, table({"vector": None})) is config


def test_columns_of_the_table_are_filled_beside_those_that_are_named() -> None:
    there = table({"vector": {"name": "null"}, "vector_next": NEW})
    assert columns(there, model={"name": "null"}) == {"vector": {"name": "null"}, "vector_next": NEW}
    several = table({"vector_a": {"name": "null"}, "vector_b": None, "vector_a_next": NEW})
    named = {"a": {"name": "null"}, "b": {"name": "null"}}
    assert columns(several, models=named) == {"vector_a": named["a"], "vector_b": named["b"], "vector_a_next": NEW}


def test_a_job_that_names_no_model_takes_the_tables() -> None:
    assert columns(table({"vector": NEW})) == {"vector": NEW}
    assert columns(table({"vector_a": {"name": "null"}, "vector_b": NEW})) == {
        "vector_a": {"name": "null"},
        "vector_b": NEW,
    }
    # One setting without a name is a setting of the table's own model.
    assert columns(table({"vector": NEW}), model={"emulate": True}) == {"vector": {**NEW, "emulate": True}}


SWAP = Swap(
    id="swap-1",
    state="flipped",
    column="vector",
    old_model="null",
    new_model="null (pooling=avg)",
    settings=NEW,
    started_at="2026-11-28T00:00:00+00:00",
    flipped_at="2026-11-29T01:02:03+00:00",
)


def test_the_old_model_named_after_a_flip_is_told_what_happened_and_when() -> None:
    flipped = table({"vector": NEW, "vector_before": {"name": "null"}}, SWAP)
    says = r"vector was swapped from null to null \(pooling=avg\) at 2026-11-29T01:02:03\+00:00 \(swap swap-1\)"
    with pytest.raises(RefusedError, match=says + r".*--rollback"):
        columns(flipped, model={"name": "null"})
    assert columns(flipped, model=NEW) == {"vector": NEW, "vector_before": {"name": "null"}}
    finished = table({"vector": NEW}, SWAP.model_copy(update={"state": "finished"}))
    with pytest.raises(RefusedError, match=says) as refused:
        columns(finished, model={"name": "null"})
    assert "--rollback" not in str(refused.value)
    back = table({"vector": {"name": "null"}, "vector_next": NEW}, SWAP.model_copy(update={"state": "rolled_back"}))
    assert columns(back, model={"name": "null"})["vector"] == {"name": "null"}
