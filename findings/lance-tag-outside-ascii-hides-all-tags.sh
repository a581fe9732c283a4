#!/usr/bin/env bash
# Lance 13.0.0 (pylance 13.0.0): a tag whose name has a letter outside ASCII is made, and then no tag can be listed.
#
# `tags.create("été")` is accepted, as letters are, and can be opened. Its file is written under one name and looked for
# under another, percent-encoded twice, when tags are listed: `tags.list()` raises "Not found" for the whole table, and so
# does a cleanup of old versions, which asks what is tagged. Deleting the tag mends it. Seen: ValueError, and OSError.
#
# Pixlake takes ASCII names alone, and says which tags keep it from listing: docs/versions.md, tags.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check pylance==13.0.0 pyarrow==26.0.1
"$folder/venv/bin/python" - "$folder/t.lance" <<'P'
import sys
from datetime import timedelta

import lance
import pyarrow as pa

for number in range(3):
    table = lance.write_dataset(pa.table({"id": [number]}), sys.argv[1], mode="append" if number else "create")
table.tags.create("plain", 1)


def outcome(call):
    try:
        call()
    except Exception as error:
        return f"{type(error).__name__}: {str(error)[:60]}"
    return "done"


def clean():
    return table.cleanup_old_versions(timedelta(0), error_if_tagged_old_versions=False)


calls = {"list": table.tags.list, "open": lambda: lance.dataset(sys.argv[1], version="été"), "clean": clean}
print("lance", lance.__version__)
table.tags.create("été", 2)
seen = {name: outcome(call) for name, call in calls.items()}
print(seen)
table.tags.delete("été")
mended = outcome(table.tags.list)
print("after its deletion:", mended)
expected = [seen["list"].startswith("ValueError: Not found"), seen["open"] == "done", mended == "done"]
sys.exit(0 if all(expected) else f"changed: {expected}")
P
