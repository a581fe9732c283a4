"""Filter indexes of a table that no filter is answered by: which, why, and the command that mends it."""

import lance

from operators.storage.stores import StorageOptions
from pipelines.filter_index.build import LOOKED_UP, filters_of_ours
from pipelines.filter_index.former import former_indexes
from pipelines.filter_index.stored import passed_over
from pipelines.filter_index.trust import doubts, filter_indexes
from pipelines.space.field import read_reductions, vector_columns


def doubted_indexes(dataset: "lance.LanceDataset", table: str, storage: StorageOptions) -> dict[str, str]:
    """Index -> why: this Lance does not keep it up, or it was not asked as it is now."""
    update = _update_command(dataset, table)
    former = {each.name for each in former_indexes(dataset, LOOKED_UP, storage)}
    doubted = {}
    for each in passed_over(dataset, storage):
        mended = f"`{update}` makes it anew" if each.name in former else "LanceDB's `drop_index` takes it away"
        doubted[each.name] = (
            f"on {each.column}: a newer Lance wrote it (format {each.version}); Lance {lance.__version__} neither uses "
            f"it nor keeps it up, and a newer one may miss rows by it; {mended}"
        )
    for column, why in doubts(dataset).items():
        build = f"`pixlake index {table} --scalar {column}` builds one that is"
        again = f"`{update}` asks it again" if filters_of_ours(dataset, column) else build
        for index in filter_indexes(dataset, column):
            mended = f"`{update}` makes it anew" if index.name in former else again
            doubted[index.name] = f"on {column}: {why}; filters on {column} are answered by a scan; {mended}"
    return doubted


def _update_command(dataset: "lance.LanceDataset", table: str) -> str:
    derived = read_reductions(dataset.schema)
    of_models = [name for name in vector_columns(dataset.schema) if name not in derived]
    column = f" --column {of_models[0]}" if len(of_models) > 1 else ""
    return f"pixlake index {table} --update{column}"
