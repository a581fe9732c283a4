"""pylance is the Lance inside lancedb: docs/decisions/2026-11-28-one-lance.md tells what two of them cost."""

import re
from pathlib import Path

import lance
import lancedb
import pyarrow as pa

WRITER = re.compile(rb"\x0a\x05lance\x12.(\d+\.\d+\.\d+)", re.DOTALL)
"""In a manifest, which is a protobuf: the message `WriterVersion`, the library's name and then its version."""


def writer(table: Path) -> str:
    """The Lance that wrote a table's latest version, as its manifest records it."""
    # Names count down, so that the latest comes first.
    manifest = min((table / "_versions").glob("*.manifest"))
    found = {each.decode() for each in WRITER.findall(manifest.read_bytes())}
    assert len(found) == 1, f"{manifest}: {found} are recorded as its writer"
    return found.pop()


def test_lancedb_and_pylance_write_as_the_same_lance(tmp_path: Path) -> None:
    rows = pa.table({"a": [1, 2]})
    lancedb.connect(str(tmp_path)).create_table("by_lancedb", rows)
    lance.write_dataset(rows, str(tmp_path / "by_pylance.lance"))
    inside, ours = writer(tmp_path / "by_lancedb.lance"), writer(tmp_path / "by_pylance.lance")
    assert ours == lance.__version__
    assert inside == ours, (
        f"lancedb {lancedb.__version__} has Lance {inside} inside, and pylance is {ours}: two versions on one table do "
        "not keep each other's indexes. Move both together, in pyproject.toml and requirements.lock"
    )
