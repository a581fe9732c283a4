"""Which version of its object a row means, as text: made alike of what a source says and of what a table holds, so that
equal texts mean an unchanged object."""

import re
from collections.abc import Sequence

import pyarrow as pa
import pyarrow.compute as pc

from operators.base.columns import URI
from operators.storage.redact import redact_uri

_BETWEEN = "\x1f"
_LACKS_ONE = "^$|^\x1f|\x1f\x1f|\x1f$"
_MAY_HOLD_SECRETS = r"[?#@]"
CONTENT_NAMES = frozenset({"etag", "md5", "sha256"})
"""Version columns that tell what an object holds. Others, such as a date, may be equal for two objects."""


def plain_etags(etags: pa.Array) -> pa.Array:
    """Etags without quotes and without the mark of weak ones, which listings and answers of one store write
    differently; null for empty ones."""
    # Without a regular expression: that took 1.5 s for a million of them, and this takes 0.03 s.
    weak = pc.fill_null(pc.starts_with(etags, "W/"), False)
    if pc.any(weak).as_py():
        etags = pc.if_else(weak, pc.utf8_slice_codeunits(etags, 2), etags)
    plain = pc.ascii_trim(etags, '"')
    return pc.if_else(pc.equal(plain, ""), pa.scalar(None, pa.string()), plain)


def version_texts(rows: pa.Table | pa.RecordBatch, names: Sequence[str]) -> pa.Array:
    """The values of some columns as one text a row, a null as no text; empty texts where there are no columns."""
    if not names:
        return pa.repeat(pa.scalar("", pa.string()), rows.num_rows)
    texts = [pc.fill_null(_array(rows[name]).cast(pa.string()), "") for name in names]
    return pc.binary_join_element_wise(*texts, _BETWEEN)


def identities(rows: pa.Table, versions: pa.Array, sizes: pa.Array | None) -> pa.Array:
    """What tells the objects of rows with a `uri` from all others, wherever they lie; null where nothing does.

    Of a manifest that is all of its version columns, of a listing etag and size. A local file's etag is when it was
    modified, which says nothing where it is a whole second: archives and some file systems keep no fractions, and a
    thousand files have the same one.
    """
    if sizes is None:
        # Where one of the columns says nothing, the others may be no more than a date.
        lacks = pc.match_substring_regex(versions, _LACKS_ONE)
        return pc.if_else(lacks, pa.scalar(None, pa.string()), versions)
    found = pc.binary_join_element_wise(versions, sizes.cast(pa.string()), _BETWEEN)
    local = pc.fill_null(pc.invert(pc.match_substring(rows[URI.name], "://")), False)
    if not pc.any(local).as_py():
        return _array(found)
    vague = [
        at for at in pc.indices_nonzero(_array(local)).to_pylist() if _is_whole_second(_array(versions)[at].as_py())
    ]
    at = pa.array(range(len(found)))
    return pc.if_else(pc.is_in(at, pa.array(vague, at.type)), pa.scalar(None, pa.string()), _array(found))


def stored_uris(uris: pa.Array) -> pa.Array:
    """URIs as the table has them, without secrets."""
    at = pc.indices_nonzero(pc.fill_null(pc.match_substring_regex(uris, _MAY_HOLD_SECRETS), False))
    if not len(at):
        return uris
    safe = pa.array([redact_uri(uri) for uri in uris.take(at).to_pylist()], pa.string())
    mask = pc.is_in(pa.array(range(len(uris))), at.cast(pa.int64()))
    return pc.replace_with_mask(uris, mask, safe)


def _is_whole_second(etag: str | None) -> bool:
    found = re.fullmatch(r"([0-9a-f]+)-[0-9a-f]+", etag or "")
    return found is None or int(found[1], 16) % 1_000_000_000 == 0


def _array(column: pa.Array | pa.ChunkedArray) -> pa.Array:
    return column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
