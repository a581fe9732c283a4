#!/usr/bin/env bash
# Lance 13.0.0 (pylance 13.0.0): after a cleanup of old versions a writer that had the table open brings deleted rows back.
#
# Lance holds a commit against the transactions of the versions since the one that it was built on: an update of a table
# that was opened before somebody else's delete is done again on the latest version. `cleanup_old_versions` removes these
# transactions with their versions, and what is gone is passed over: the update lands as if nobody had deleted anything.
# Nothing is raised. Seen: 5 rows where the versions are kept, all 10 after the cleanup, with `update`, `delete` and
# `merge_insert` alike. LanceDB's `optimize(cleanup_older_than=...)` is the same cleanup.
#
# Pixlake prunes no version that was the latest within the last day: docs/versions.md, old versions.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check pylance==13.0.0 pyarrow==26.0.1
"$folder/venv/bin/python" - "$folder" <<'P'
import sys
from datetime import timedelta

import lance
import pyarrow as pa

WRITES = {
    "update": lambda table: table.update({"x": "1"}, where="id = 7"),
    "delete": lambda table: table.delete("id = 7"),
    "merge_insert": lambda table: table.merge_insert("id").when_matched_update_all().execute(
        pa.table({"id": [7], "x": [1]})
    ),
}


def rows_after(name, cleaned):
    uri = f"{sys.argv[1]}/{name}-{cleaned}.lance"
    lance.write_dataset(pa.table({"id": list(range(10)), "x": [0] * 10}), uri)
    opened = lance.dataset(uri)
    lance.dataset(uri).delete("id < 5")
    lance.dataset(uri).update_config({"a": "b"})
    if cleaned:
        lance.dataset(uri).cleanup_old_versions(older_than=timedelta(0))
    WRITES[name](opened)
    return lance.dataset(uri).count_rows("id < 5")


print("lance", lance.__version__)
seen = {name: (rows_after(name, False), rows_after(name, True)) for name in WRITES}
for name, (kept, cleaned) in seen.items():
    print(f"{name}: {kept} of 5 deleted rows are there; after a cleanup {cleaned}")
sys.exit(0 if seen == dict.fromkeys(WRITES, (0, 5)) else "changed: expected (0, 5)")
P
