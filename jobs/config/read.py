"""What every job takes that reads a table: its name, its storage and, where it reads all of it, a cluster."""

from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, model_validator

from jobs.config.keys import without_embed_keys
from jobs.config.load import on_local_cluster
from operators.storage.stores import NO_OPTIONS, StorageOptions
from pipelines.run.cluster import ClusterConfig
from pipelines.table.table import Table
from pipelines.versions.open import failures_at, vectors_at


class ReadConfig(BaseModel):
    """What every job that reads a table takes. The file of the embed job that made the table serves as it is."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    table: str
    storage: StorageOptions = NO_OPTIONS
    """Storage settings for images, and for the table unless `table_storage` is given."""
    table_storage: StorageOptions | None = None

    @model_validator(mode="before")
    @classmethod
    def _leave_out_what_is_for_embed(cls, values: Any) -> Any:
        return without_embed_keys(values, cls.model_fields)

    @property
    def storage_of_table(self) -> StorageOptions:
        return self.table_storage or self.storage

    @property
    def stored(self) -> Table:
        """The table where it lies. Raises `RefusedError` for a name that is not `DB/NAME`."""
        return Table.of(self.table, self.storage_of_table)


class PastReadConfig(ReadConfig):
    """What every job takes that can read an earlier state of a table."""

    at: Annotated[str | None, BeforeValidator(lambda value: None if value is None else str(value))] = None
    """A tag, or the number of a version of the vector table; None for the latest."""

    @property
    def vectors(self) -> Any:
        """The vector table (a Lance dataset) in that state. Raises `UserError` where there is none."""
        return vectors_at(self.stored, self.at)

    @property
    def failures(self) -> Any:
        """The failures table in the same state."""
        return failures_at(self.stored, self.at)


class ClusterReadConfig(ReadConfig):
    """What every job takes that reads a whole table on a cluster. Only where the cluster runs is read from its file."""

    cluster: ClusterConfig
    """Default: `conf/clusters/local.yaml`, which starts Ray on this machine."""

    @model_validator(mode="before")
    @classmethod
    def _build_on_the_local_cluster(cls, values: Any) -> Any:
        return on_local_cluster(values)
