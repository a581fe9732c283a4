"""One command's work on a night: the steps that are not done, each told in the report as soon as it is."""

from jobs.nights.lease import Lease, LeaseLostError
from jobs.nights.report import NightlyReport, NightStatus, NightStep, StepName, store_report
from jobs.nights.retry import take_step
from jobs.nights.steps import STEPS, Night, live_models, versions_of
from jobs.session.progress import Progress
from operators.storage.no_space import is_no_space
from operators.storage.redact import reason_of

_OF_THE_NIGHT = {"current_as_of", "last_success_at", "rows", "failures_by_class", "images_per_s"}
"""Fields that a later command of the same night takes from the earlier one's report."""


class NightRun:
    """Steps in their order; `go` is called once."""

    def __init__(self, night: Night, lease: Lease, earlier: NightlyReport | None, report: NightlyReport) -> None:
        self._night = night
        self._lease = lease
        # Each job shows on its own how far it is; here only lines that stay.
        self._note = Progress().note
        self._again = earlier is not None and earlier.status == "complete"
        """Whether the night was complete before: then only a source that has changed since gives work."""
        self._over = {step.name: step for step in earlier.steps if step.is_over} if earlier else {}
        """What an earlier command did, and this one does not have to."""
        told = earlier.model_dump(include=_OF_THE_NIGHT) if earlier else {}
        self._report = report.model_copy(update={**told, "commands": 1 + (earlier.commands if earlier else 0)})

    def go(self) -> NightlyReport:
        """Take the steps. An interruption, a lease that is lost and storage that fails between steps are reports."""
        name: StepName = "embed"
        try:
            for name in STEPS:
                self._lease.check()
                step = self._take(name)
                # Until the last step is over, the report says that the night is not.
                self._tell(step, status="interrupted")
                if step.status in ("failed", "interrupted"):
                    break
        except KeyboardInterrupt:
            self._tell(_stopped(name, "interrupted; the same command goes on here"), status="interrupted")
        except LeaseLostError as error:
            # Whoever has it now writes the report.
            return self._report.with_step(_stopped(name, str(error))).ended("interrupted")
        except OSError as error:
            # No report can be written either.
            status: NightStatus = "interrupted" if is_no_space(error) else "failed"
            return self._report.ended(status, f"failed at {name}: {reason_of(error)}")
        self._report = self._report.concluded(live_models(self._night.table), again=self._again)
        store_report(self._report, self._night.table)
        return self._report

    def _tell(self, step: NightStep, status: NightStatus) -> None:
        self._report = self._report.with_step(step).ended(status)
        if not step.earlier:
            # Until then the stored report, of an earlier command, says more.
            store_report(self._report, self._night.table)

    def _take(self, name: StepName) -> NightStep:
        before = self._over.get(name)
        looked_again = self._again and name == "refresh"
        if before is not None and not looked_again:
            return before.model_copy(update={"earlier": True})
        versions = versions_of(self._night.table)
        self._note(f"night {self._night.tag}: {name}")
        step = take_step(name, lambda: STEPS[name](self._night, self._report), self._night.config.retries, self._note)
        same = versions_of(self._night.table) == versions
        if name in ("embed", "refresh"):
            self._report = self._report.having_learnt(step, keep_rows=looked_again and same)
            if not same:
                # What was done after the state before is to be done again.
                self._over.clear()
        return before.model_copy(update={"earlier": True}) if before and same and step.is_over else step


def _stopped(name: StepName, message: str) -> NightStep:
    return NightStep(name=name, status="interrupted", began_at=0.0, seconds=0.0, attempts=1, message=message, result={})
