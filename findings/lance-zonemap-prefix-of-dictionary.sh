#!/usr/bin/env bash
# Lance 13.0.0 (pylance 13.0.0): a ZONEMAP on a dictionary column answers a prefix filter with no row at all.
#
# Labels are often dictionaries in Arrow (pandas' categories, a Parquet file read with its dictionaries kept). With a
# ZONEMAP on such a column `label = 'banana'` and `label LIKE '%an%'` are right, and `label LIKE 'b%'` gives 0 rows where a
# scan gives 10. Nothing is raised. On the same column as plain text the index is right.
#
# Pixlake asks an index such filters before it is published, and refuses this one: docs/indexes.md, kinds by column type.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check pylance==13.0.0 pyarrow==26.0.1
"$folder/venv/bin/python" - "$folder" <<'P'
import sys

import lance
import pyarrow as pa

labels = pa.array(["apple", "banana", "cherry"] * 10)
filters = ("label = 'banana'", "label LIKE '%an%'", "label LIKE 'b%'")


def rows(table, where, use_index):
    return table.scanner(columns=["label"], filter=where, use_scalar_index=use_index).to_table().num_rows


print("lance", lance.__version__)
seen = {}
for name, column in (("text", labels), ("dictionary", labels.dictionary_encode())):
    uri = f"{sys.argv[1]}/{name}.lance"
    lance.write_dataset(pa.table({"label": column}), uri).create_scalar_index("label", "ZONEMAP")
    for where in filters:
        seen[name, where] = rows(lance.dataset(uri), where, True), rows(lance.dataset(uri), where, False)
        print(f"{name}, {where}: {seen[name, where][0]} rows by the index, {seen[name, where][1]} by a scan")
wrong = {case for case, (by_index, by_scan) in seen.items() if (by_index, by_scan) != (10, 10)}
changed = wrong != {("dictionary", "label LIKE 'b%'")} or seen["dictionary", "label LIKE 'b%'"] != (0, 10)
sys.exit("changed" if changed else 0)
P
