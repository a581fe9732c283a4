"""What a user must mend is found in any link of a chain; other errors are let be. Without Ray."""

import traceback
from typing import Any, ClassVar

import pytest

from operators.base.errors import UserError
from operators.base.operator import Operator, OperatorConfig
from operators.models.canaries import CanaryError
from pipelines.run.on_ray.errors import CarriedError, carried, carrying
from pipelines.run.on_ray.run import RayStageWorker
from pipelines.run.stage import Resources, Stage

MESSAGE = 'model "x" at C:\\cache:\n  differs é \U0001f4a5'


def as_text() -> str:
    """What Ray keeps of an error: its traceback."""
    try:
        with carrying():
            raise CanaryError(MESSAGE)
    except CarriedError as error:
        return "".join(traceback.format_exception(error))


def raised_from(cause: BaseException | None, context: BaseException | None = None) -> BaseException:
    error = RuntimeError("the actor died")
    error.__cause__, error.__context__ = cause, context
    return error


class Wrapped(RuntimeError):
    def __init__(self, cause: BaseException) -> None:
        super().__init__("a task failed")
        self.cause = cause


@pytest.mark.parametrize(
    "chain",
    [
        RuntimeError(as_text()),
        Wrapped(RuntimeError(as_text())),
        raised_from(RuntimeError(as_text())),
        raised_from(SystemError(), Wrapped(RuntimeError(as_text()))),
    ],
    ids=["itself", "cause", "__cause__", "__context__"],
)
def test_the_message_is_found_in_any_link(chain: BaseException) -> None:
    found = carried(chain)
    assert type(found) is UserError
    assert str(found) == MESSAGE


def test_other_errors_pass_as_they_are() -> None:
    with pytest.raises(OSError, match="disk full") as raised, carrying():
        raise OSError("disk full")
    looped = raised_from(raised.value)
    raised.value.__context__ = looped
    assert carried(looped) is None


class BrokenConfig(OperatorConfig):
    name: ClassVar[str] = "broken"

    def build(self) -> Operator[Any]:
        raise OSError("disk full")


def test_an_actor_still_dies_of_what_another_try_may_mend() -> None:
    with pytest.raises(OSError, match="disk full"):
        RayStageWorker(Stage(name="s", operators=(BrokenConfig(),), resources=Resources(num_actors=1)))
