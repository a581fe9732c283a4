"""What every job takes that reads a table: its name, its storage and, where it reads all of it, a cluster."""

from typing import Any

from pydantic import BaseModel, ConfigDict, model_validator

from jobs.config.keys import without_embed_keys
from jobs.config.load import on_local_cluster
from operators.storage.stores import NO_OPTIONS, StorageOptions
from pipelines.run.cluster import ClusterConfig
from pipelines.table.table import Table


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


class ClusterReadConfig(ReadConfig):
    """What every job takes that reads a whole table on a cluster. Only where the cluster runs is read from its file."""

    cluster: ClusterConfig
    """Default: `conf/clusters/local.yaml`, which starts Ray on this machine."""

    @model_validator(mode="before")
    @classmethod
    def _build_on_the_local_cluster(cls, values: Any) -> Any:
        return on_local_cluster(values)
