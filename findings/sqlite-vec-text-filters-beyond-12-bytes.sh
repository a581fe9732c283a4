#!/usr/bin/env bash
# sqlite-vec 0.1.9: a range filter on a text of more than 12 bytes gives rows that it excludes, and one text of 12 stops them all.
#
# A vec0 table holds columns of text beside the vectors, by which its nearest-neighbour search filters first; the first 12 bytes
# lie with the row, the rest elsewhere. Where a row's text is the beginning of the one that is asked for, `<` and `>=` answer as
# if they were equal: `taken >= '2026-11-28T12:30:00.500'` gives the image of 12:30:00, and `<` loses it; so with labels ('golden
# retriever', 'golden retrievers') and paths. Nothing is raised. Texts of fewer bytes, and `=` and `!=`, are right. And once
# any row holds a text of exactly 12 bytes, `<`, `<=`, `>` and `>=` raise "Could not filter metadata fields" for every bound and
# the whole table. SQLite's own table answers all of these rightly.
#
# Pixlake filters by Lance, and asks its indexes such filters before they count: docs/indexes.md, Filters.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check sqlite-vec==0.1.9 apsw==3.54.1.0 numpy==2.4.6
"$folder/venv/bin/python" - <<'P'
import sys

import apsw
import numpy as np
import sqlite_vec

TEXTS = {
    "times": ["2026-11-28T12:29:59", "2026-11-28T12:30:00", "2026-11-28T12:30:00.500", "2026-11-28T12:31:00"],
    "labels": ["golden retriever", "golden retrievers", "labrador retriever", "poodle"],
    "short labels": ["cat", "cats", "catsup", "dog"],
    "one of 12 bytes": ["abcdefghijkl", "b", "c", "d"],
}
OPERATORS = ("=", "!=", "<", "<=", ">", ">=")


def answers(texts):
    """{(operator, bound): texts that vec0 gives wrongly, texts that it loses}, or the error."""
    database = apsw.Connection(":memory:")
    database.enable_load_extension(True)
    database.load_extension(sqlite_vec.loadable_path())
    database.execute("CREATE VIRTUAL TABLE images USING vec0(vector float[2], text text)")
    database.execute("CREATE TABLE plain(text text)")
    for number, text in enumerate(texts):
        vector = np.array([number, 1], np.float32).tobytes()
        database.execute("INSERT INTO images(vector, text) VALUES(?, ?)", (vector, text))
        database.execute("INSERT INTO plain VALUES(?)", (text,))
    query = np.zeros(2, np.float32).tobytes()
    wrong = {}
    for bound in texts:
        for operator in OPERATORS:
            where = f"text {operator} ?"
            right = {row[0] for row in database.execute(f"SELECT text FROM plain WHERE {where}", (bound,))}
            near = f"SELECT text FROM images WHERE vector MATCH ? AND k = 100 AND {where}"
            try:
                found = {row[0] for row in database.execute(near, (query, bound))}
            except apsw.SQLError as error:
                wrong[operator, bound] = str(error)
                continue
            if found != right:
                wrong[operator, bound] = sorted(found - right), sorted(right - found)
    return wrong


print("sqlite-vec", next(apsw.Connection(":memory:").execute("SELECT sqlite_version()"))[0], sqlite_vec.__version__)
seen = {kind: answers(texts) for kind, texts in TEXTS.items()}
for kind, wrong in seen.items():
    print(f"{kind}: {len(wrong)} of {len(OPERATORS) * len(TEXTS[kind])} filters are wrong")
    for (operator, bound), answer in list(wrong.items())[:4]:
        print(f"  text {operator} '{bound}': {answer if isinstance(answer, str) else 'also %s, without %s' % answer}")


def taken_for_equal(shorter, longer):
    return {("<", longer): ([], [shorter]), (">=", longer): ([shorter], [])}


ranges = {(operator, bound) for operator in OPERATORS[2:] for bound in TEXTS["one of 12 bytes"]}
so = (
    seen["times"] == taken_for_equal("2026-11-28T12:30:00", "2026-11-28T12:30:00.500")
    and seen["labels"] == taken_for_equal("golden retriever", "golden retrievers")
    and seen["short labels"] == {}
    and set(seen["one of 12 bytes"]) == ranges
    and set(seen["one of 12 bytes"].values()) == {"Could not filter metadata fields"}
)
sys.exit(0 if so else "changed")
P
