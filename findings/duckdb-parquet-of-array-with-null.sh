#!/usr/bin/env bash
# duckdb 2.0.1: Parquet that it writes of a vector column with a null is read by itself, and not by Arrow.
#
# FLOAT[n] is DuckDB's type for embeddings. COPY … TO 'x.parquet' of such a column in which one row is null (an image that failed)
# writes that the null row has entries, which a null in Parquet has not. DuckDB and polars pass over them; pyarrow, and so pandas and
# datasets, raise "Length spanned by list offsets (29) larger than values array (length 20)" and read no row of the column, nor of
# a whole table that has it. Nothing is said when it is written, and whoever checks the file with DuckDB finds it whole. Without a
# null, or as FLOAT[] (`SELECT * REPLACE (vector::FLOAT[] AS vector)`), it is right. Public as issue 24731 of duckdb/duckdb.
#
# Pixlake reads Parquet with pyarrow, so such a column must be cast first; it writes none with a null: docs/export.md.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check \
    duckdb==2.0.1 pyarrow==26.0.1 polars==2.1.0 pandas==3.1.1 numpy==2.4.6
cd "$folder"
"$folder/venv/bin/python" - <<'P'
import sys

import duckdb
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

READERS = {
    "duckdb": lambda path: [row[1] and list(row[1]) for row in duckdb.sql(f"SELECT * FROM '{path}'").fetchall()],
    "polars": lambda path: pl.read_parquet(path)["vector"].to_list(),
    "pyarrow": lambda path: pq.read_table(path)["vector"].to_pylist(),
    "pandas": lambda path: [row if row is None else row.tolist() for row in pd.read_parquet(path)["vector"]],
}


def written(name, kind, nulls):
    vector = f"[i, i + 0.25, i + 0.5, i + 0.75]::{kind}"
    column = f"CASE WHEN i % 3 = 1 THEN NULL ELSE {vector} END" if nulls else vector
    duckdb.sql(f"COPY (SELECT i, {column} AS vector FROM range(8) numbers(i)) TO '{name}.parquet'")
    return f"{name}.parquet", [None if nulls and i % 3 == 1 else [i, i + 0.25, i + 0.5, i + 0.75] for i in range(8)]


def state(read, path, expected):
    try:
        return "right" if read(path) == expected else "other"
    except pa.ArrowInvalid as error:
        return str(error)


print("duckdb", duckdb.__version__, "pyarrow", pa.__version__, "polars", pl.__version__, "pandas", pd.__version__)
files = {
    "FLOAT[4], nulls": written("array", "FLOAT[4]", True),
    "FLOAT[4]": written("whole", "FLOAT[4]", False),
    "FLOAT[], nulls": written("list", "FLOAT[]", True),
}
seen = {name: {reader: state(read, *file) for reader, read in READERS.items()} for name, file in files.items()}
for name, states in seen.items():
    print(f"{name}: {states}")
error = "Length spanned by list offsets (29) larger than values array (length 20)"
nulls = {"duckdb": "right", "polars": "right", "pyarrow": error, "pandas": error}
others = {state for name in ("FLOAT[4]", "FLOAT[], nulls") for state in seen[name].values()}
sys.exit(0 if seen["FLOAT[4], nulls"] == nulls and others == {"right"} else "changed")
P
