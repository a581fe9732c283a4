"""The state machine, small: the same few hundred steps every time. The long form is `python tests/state_machine`."""

from hypothesis import HealthCheck, Phase, settings
from meanwhile import MEANWHILE
from operations import OPERATIONS
from switched_off import SWITCHED_OFF
from table_machine import TableMachine

PARTS = {"tables_with_stable_row_ids"}
"""What can be left out of an operation."""


TestTablesThatOthersTouch = TableMachine.TestCase
TestTablesThatOthersTouch.settings = settings(
    derandomize=True,
    max_examples=12,
    stateful_step_count=40,
    # A fault is told by the steps that led to it; the long form shortens them.
    phases=[Phase.generate],
    database=None,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)


def test_what_is_left_out_is_known() -> None:
    assert SWITCHED_OFF.keys() <= OPERATIONS.keys() | MEANWHILE.keys() | PARTS
