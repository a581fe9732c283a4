"""A failpoint that is on in this process for a while."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from operators.base.failpoints import ON, switch_on


@contextmanager
def failing_at(place: str) -> Iterator[None]:
    """Whoever comes to the place raises `OSError`."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(ON, f"{place}=raise")
        switch_on()
        try:
            yield
        finally:
            patch.delenv(ON)
            switch_on()
