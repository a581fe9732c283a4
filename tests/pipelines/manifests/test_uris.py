"""Relative, absolute and impossible URIs against each kind of base."""

import pyarrow as pa
import pytest

from pipelines.manifests.uris import (
    MAX_URI_BYTES,
    BadUri,
    check_uri,
    check_uris,
    parent_folder,
    resolve_uri,
    resolve_uris,
)


@pytest.mark.parametrize(
    ("base", "text", "want"),
    [
        ("/data/in", "a.jpg", "/data/in/a.jpg"),
        ("/data/in", "../a b%20.jpg", "/data/a b%20.jpg"),
        ("/", "a.jpg", "/a.jpg"),
        ("s3://bucket/in", "a.jpg", "s3://bucket/in/a.jpg"),
        ("s3://bucket/in", "../x/./a#b?c.jpg", "s3://bucket/x/a#b?c.jpg"),
        ("s3://bucket", "a.jpg", "s3://bucket/a.jpg"),
        ("s3://bucket/in", "/local/a.jpg", "/local/a.jpg"),
        ("gs://bucket/in", "s3://other/a//b.jpg", "s3://other/a//b.jpg"),
        ("https://host/in", "a.jpg", "https://host/in/a.jpg"),
        ("https://host/in/deep", "../a.jpg?w=1", "https://host/in/a.jpg?w=1"),
        ("https://host/in", "/a.jpg", "https://host/a.jpg"),
        ("https://host/in", "//other/a.jpg", "https://other/a.jpg"),
        ("/data", "FILE:///x/a%20b%2Fc.jpg", "/x/a b/c.jpg"),
        ("/data", "file://localhost/x.jpg", "/x.jpg"),
        ("/data", "file:/x.jpg", "/x.jpg"),
        ("/data", "ftp://host/x.jpg", "ftp://host/x.jpg"),
        ("/data", "12:30.jpg", "/data/12:30.jpg"),
    ],
)
def test_resolves(base: str, text: str, want: str) -> None:
    assert resolve_uri(text, base) == want
    assert resolve_uris(pa.array([text]), base)[0].to_pylist() == [want]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (None, "null"),
        ("", "empty"),
        (" \t", "empty"),
        ("a\nb", "control"),
        ("s3://b/a\x00", "control"),
        ("s3://", "nothing behind"),
        ("file://", "without an absolute"),
        ("file:x.jpg", "without an absolute path"),
        ("file://host/x.jpg", "host"),
        ("file:///a%0Ab", "control"),
        ("ht tp://x", "malformed"),
        ("data:image/png;base64,AA", "data:"),
        ("../../../x.jpg", "out of the bucket"),
        ("s3://b/" + "x" * MAX_URI_BYTES, "longer than 8192"),
        ("ü" * (MAX_URI_BYTES // 2 + 1), "longer than 8192"),
    ],
)
def test_refuses(text: str | None, reason: str) -> None:
    with pytest.raises(BadUri, match=reason):
        resolve_uri(text, "s3://bucket/in")
    uris, reasons = resolve_uris(pa.array([text, "s3://b/1"], pa.string()), "s3://bucket/in")
    assert uris.to_pylist() == [None, "s3://b/1"]
    assert list(reasons) == [0]


def test_a_reason_never_repeats_the_uri() -> None:
    for text in (
        "://user:hush@host/x",
        "s3://hush\x01",
        "data:hush",
        "file://u:hush@h/x",
        "https://u:hush@h/" + "x" * 9000,
    ):
        with pytest.raises(BadUri) as error:
            resolve_uri(text, "/data")
        assert "hush" not in str(error.value)


@pytest.mark.parametrize(
    ("uri", "folder"),
    [
        ("/a/b.csv", "/a"),
        ("/b.csv", "/"),
        ("s3://bucket/b.csv", "s3://bucket"),
        ("s3://bucket/a?b/c.csv", "s3://bucket/a?b"),
        ("https://host/a/b.csv?path=/x/y#/z", "https://host/a"),
    ],
)
def test_parent_folder(uri: str, folder: str) -> None:
    assert parent_folder(uri) == folder


@pytest.mark.parametrize("other", ["/in/b.jpg", "/in/\udcff.jpg"])
def test_a_column_of_names_is_checked_as_each_alone(other: str) -> None:
    """With a name that Arrow cannot hold among them, too."""
    names = ["/in/a.jpg", "/in/n\nl.jpg", "ü", " ", "\u3000", "", "/in/del\x7f", "/" + "x" * MAX_URI_BYTES, other]
    reasons = {}
    for index, name in enumerate(names):
        try:
            check_uri(name)
        except BadUri as error:
            reasons[index] = str(error)
    assert {1, 3, 4, 5, 6, 7} <= set(reasons)
    kept = [None if index in reasons else name for index, name in enumerate(names)]
    assert check_uris(names) == (pa.array(kept), reasons)
