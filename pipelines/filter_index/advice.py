"""What to do where an index answers filters otherwise than a scan does."""

import pyarrow as pa

from pipelines.scan.sql import sql_column


def advice(field: pa.Field, kind: str) -> str:
    """What to advise: another kind of index that answers as a scan does, or none. `tests` check it against Lance."""
    name, column = field.name, sql_column(field.name)
    if pa.types.is_boolean(field.type):
        return (
            f"Of a boolean column with nulls use `--scalar {name}=ZONEMAP`, or none: a scan of booleans is fast. In "
            f"other tools {column} IS NOT TRUE is right with either kind, and NOT ({column} IS TRUE) is not"
        )
    if kind == "NGRAM":
        return (
            f"An NGRAM holds words alone: what spans two of them, a space or a sign, it does not find. `--scalar {name}"
            f"=BTREE` serves =, IN, < and LIKE 'start%'"
        )
    if kind == "ZONEMAP" and pa.types.is_floating(field.type):
        return f"Use `--scalar {name}=BTREE`"
    return f"Use another kind, `--scalar {name}=KIND`, or leave the index out"
