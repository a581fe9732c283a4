"""Images that clients send: kept by their content, as many as fit, and found by no other name."""

import os

import pytest

from jobs.web.uploads import Uploads
from operators.base.errors import UserError


def test_an_image_is_kept_once_and_read_again() -> None:
    uploads = Uploads()
    name = uploads.keep(b"one")
    assert uploads.keep(b"one") == name
    assert uploads.read(name) == b"one"
    assert os.stat(os.path.dirname(uploads.path(name))).st_mode & 0o077 == 0
    uploads.close()
    assert not os.path.exists(os.path.dirname(uploads._place(name)))


def test_those_used_longest_ago_go_first() -> None:
    uploads = Uploads(most_bytes=10)
    first, second = uploads.keep(b"1234"), uploads.keep(b"5678")
    uploads.read(first)
    third = uploads.keep(b"abcd")
    assert (uploads.read(first), uploads.read(third)) == (b"1234", b"abcd")
    with pytest.raises(UserError, match="not there any more"):
        uploads.read(second)


@pytest.mark.parametrize("name", ["", ".", "..", "/etc/passwd", "../x", "0" * 32])
def test_no_other_name_leads_anywhere(name: str) -> None:
    with pytest.raises(UserError, match="not there any more"):
        Uploads().path(name)
