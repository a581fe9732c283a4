"""The state machine, small: the same few hundred steps every time. The long form is `make machine`."""

from hypothesis import HealthCheck, Phase, settings

from state_machine.table_machine import TableMachine

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
