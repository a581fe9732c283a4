"""What does not fit into memory is refused with both figures."""

import pytest

from operators.base.errors import UserError
from pipelines.steps.memory import check_memory


def test_what_does_not_fit_is_refused_with_the_figures() -> None:
    check_memory(1 << 20, "1,000 vectors", "use fewer")
    with pytest.raises(UserError, match=r"^1,000 vectors take 1073741824\.0 GiB of memory, and [\d.]+ GiB .*: use"):
        check_memory(1 << 60, "1,000 vectors", "use fewer")
