"""The report of a night: kept beside the table after each step, it also says which steps are done."""

import json
import time
from datetime import UTC, date, datetime
from typing import Any, Literal

import obstore
from obstore.exceptions import BaseError
from pydantic import BaseModel, ValidationError

from jobs.reports.run_report import store_run_file
from jobs.reports.stored_files import StoredFiles
from jobs.session.progress import duration
from operators.base.errors import LASTING, UserError, printable
from operators.storage.redact import reason_of
from operators.storage.stores import object_store
from pipelines.table.table import Table

NAME = "report.json"
FOLDER = "nightly-"
"""What the name of a night's folder begins with, under `NAME__runs/`."""

StepName = Literal["embed", "refresh", "upkeep", "tag", "gates", "drift"]
StepStatus = Literal["done", "exceeded", "failed", "interrupted", "not_needed"]
"""`exceeded`: it was measured, and a threshold is not kept. `not_needed`: there is nothing to do or to compare."""

NightStatus = Literal["complete", "exceeded", "failed", "interrupted", "left", "refused"]
"""`left`: another night was running, and this one did nothing. `refused`: a user must mend something first."""

EXIT_STATUS: dict[NightStatus, int] = {
    "complete": 0,
    "failed": 1,
    "refused": 2,
    "exceeded": 3,
    "interrupted": 75,
    "left": 75,
}


class NightStep(BaseModel):
    """One step, as its last attempt ended."""

    name: StepName
    status: StepStatus
    began_at: float
    """When its last attempt began, in seconds since 1970."""
    seconds: float
    """Of all attempts, without the pauses between them."""
    attempts: int
    message: str
    """One line for people."""
    result: dict[str, Any]
    """What the step's own job reports."""
    earlier: bool = False
    """Whether an earlier command did it, and this one did not have to."""

    @property
    def is_over(self) -> bool:
        """Whether a later command of the same night may leave it out."""
        return self.status in ("done", "not_needed")


class NightlyReport(BaseModel):
    """The outcome of one night, of all commands that worked on it."""

    table: str
    name: str
    """The table's name alone, as in metrics."""
    night: str
    status: NightStatus
    message: str = ""
    """What is to be told of the night as a whole."""
    nothing_to_do: bool = False
    """The night was complete before, and the source has not changed since."""
    is_past: bool = False
    """A later night has begun since, and nothing was looked at."""
    steps: list[NightStep]
    """In the order in which they are taken; those after one that failed are not there."""
    started_at: float
    """Of this command, in seconds since 1970."""
    ended_at: float
    """Of this command, or of its latest step while it runs."""
    commands: int
    """Commands that have worked on this night."""
    current_as_of: float | None = None
    """Every change of the source before this time is in the table: when the last refresh began that left no image
    behind. None until there was one."""
    last_success_at: float | None = None
    """When a night last ended complete."""
    live_models: dict[str, str] = {}
    """Vector column -> its model, as the table has them."""
    rows: dict[str, int] = {}
    """Images by the state that the refresh found them in; `failed_now` are those among them that gave no vector."""
    failures_by_class: dict[str, int] = {}
    """Images that the night failed on, by class."""
    images_per_s: float | None = None
    """Images a second that were fetched and embedded; None where none was."""

    @property
    def exit_status(self) -> int:
        return EXIT_STATUS[self.status]

    def step(self, name: StepName) -> NightStep | None:
        return next((step for step in self.steps if step.name == name), None)

    @property
    def oldest_unrefreshed_change_s(self) -> float | None:
        """Seconds that the oldest change which the table may not have can be old at most, at the end of the command."""
        return None if self.current_as_of is None else max(self.ended_at - self.current_as_of, 0.0)

    def with_step(self, step: NightStep) -> "NightlyReport":
        return self.model_copy(update={"steps": [*self.steps, step]})

    def ended(self, status: NightStatus, message: str = "") -> "NightlyReport":
        """As it is told at this moment."""
        return self.model_copy(update={"status": status, "message": message, "ended_at": time.time()})

    def concluded(self, live_models: dict[str, str], *, again: bool) -> "NightlyReport":
        """As it is when no step is left that can be taken. `again`: the night was complete before."""
        found = {step.status for step in self.steps}
        order: tuple[NightStatus, ...] = ("failed", "interrupted", "exceeded")
        report = self.ended(next((status for status in order if status in found), "complete"))
        complete = report.status == "complete"
        update = {
            "live_models": live_models,
            "last_success_at": report.ended_at if complete else report.last_success_at,
            "nothing_to_do": complete and again and all(step.earlier for step in self.steps),
        }
        return report.model_copy(update=update)

    def having_learnt(self, step: NightStep, *, keep_rows: bool) -> "NightlyReport":
        """With what a step that fetches images did; `keep_rows`: it found nothing to do, and the night's earlier rows
        stay."""
        if step.status not in ("done", "failed", "interrupted"):
            return self
        update: dict[str, Any] = {}
        failures = step.result.get("failures_by_class", {})
        if step.status == "done" and not failures.keys() - LASTING:
            update["current_as_of"] = step.began_at
        if not keep_rows and "rows" in step.result:
            update |= {
                "rows": step.result["rows"],
                "failures_by_class": failures,
                "images_per_s": step.result.get("images_per_s"),
            }
        return self.model_copy(update=update)


def new_report(table: Table, night: date, *, name: str | None, before: NightlyReport | None = None) -> NightlyReport:
    """The report of a command that has done nothing yet; `before` is the latest night before it."""
    now = time.time()
    return NightlyReport(
        table=str(table),
        name=name or table.names.name,
        night=night.isoformat(),
        status="interrupted",
        steps=[],
        started_at=now,
        ended_at=now,
        commands=1,
        current_as_of=before.current_as_of if before else None,
        last_success_at=before.last_success_at if before else None,
    )


def store_report(report: NightlyReport, table: Table) -> None:
    """Write it beside the table. Raises `OSError`."""
    store_run_file(report, f"{FOLDER}{report.night}", NAME, table.names, table.storage)


def read_report(table: Table, night: str) -> NightlyReport | None:
    """The report of a night; None where it never began. Raises `OSError`, and `UserError` for a file that is none."""
    uri = f"{table.names.runs}/{FOLDER}{night}/{NAME}"
    store, path = object_store(uri, table.storage)
    try:
        return NightlyReport.model_validate_json(bytes(obstore.get(store, path).bytes()))
    except FileNotFoundError:
        return None
    except BaseError as error:
        raise OSError(f"{uri}: cannot be read: {reason_of(error)}") from None
    except ValidationError as error:
        raise UserError(
            f"{uri}: is no report of a night ({reason_of(error.errors()[0]['msg'])}); delete it, and the night is "
            "taken up anew"
        ) from None


def nights_before(table: Table, night: str | None = None) -> list[str]:
    """Nights that have begun, before `night` where one is given, the latest first. Raises `OSError`."""
    nights = [name.removeprefix(FOLDER) for name in StoredFiles(table).called(FOLDER)]
    return [each for each in nights if night is None or each < night]


def as_text(report: NightlyReport) -> str:
    """A few lines for the end of a night."""
    lines = [_headline(report)]
    for step in report.steps:
        took = "before" if step.earlier else duration(step.seconds)
        tries = f", {step.attempts} attempts" if step.attempts > 1 and not step.earlier else ""
        lines.append(f"  {step.name:<8} {step.status.replace('_', ' '):<10} {took}{tries}: {step.message}")
    behind = report.oldest_unrefreshed_change_s
    if behind is not None and report.current_as_of is not None:
        at = datetime.fromtimestamp(report.current_as_of, UTC)
        lines.append(f"  the table has every change before {at:%Y-%m-%d %H:%M:%SZ}")
    return "\n".join(printable(line) for line in lines)


def _headline(report: NightlyReport) -> str:
    if report.message:
        return f"{report.table}: night {report.night}: {report.message}"
    if report.nothing_to_do:
        return f"{report.table}: night {report.night}: nothing to do, it was complete and the source is as it was"
    wrong = " and ".join(step.name for step in report.steps if step.status == report.status)
    return f"{report.table}: night {report.night}: {report.status}" + (f" at {wrong}" if wrong else "")


def as_json(report: NightlyReport) -> dict[str, Any]:
    """As `--json` prints it."""
    value: dict[str, Any] = json.loads(report.model_dump_json())
    worked_out = ("exit_status", "oldest_unrefreshed_change_s")
    return {**value, **{name: getattr(report, name) for name in worked_out}}
