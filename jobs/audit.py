"""`pixlake audit`: a table compared with its manifests, its files and its source; and, if asked, repaired."""

from pydantic import Field, model_validator

from jobs.auditing.look import LookConfig, look, report_of
from jobs.auditing.repair import as_planned, carry_out, plan
from jobs.auditing.report import AuditReport, as_text
from jobs.session.progress import Progress

__all__ = ["AuditConfig", "AuditReport", "as_text", "run"]


class AuditConfig(LookConfig):
    """Which table is audited, how thoroughly, and whether what can be mended is."""

    sample: int = Field(default=100, ge=0)
    repair: bool = False
    """Say what a repair would do."""
    yes: bool = False
    """Do it."""
    restore: bool = False
    """Embed again what another tool has deleted."""

    @model_validator(mode="after")
    def _only_a_repair_is_agreed_to(self) -> "AuditConfig":
        if (self.yes or self.restore) and not self.repair:
            raise ValueError("--yes and --restore are about a repair: give --repair too")
        return self


def run(config: AuditConfig) -> AuditReport:
    """Audit the table; nothing is written but by a repair that was agreed to, after which the table is audited once
    more and the report is of what it is then. Raises `UserError` where there is no table of Pixlake's, `OSError` where
    its storage fails."""
    with Progress() as progress:
        found = look(config, progress)
        if not config.repair:
            return report_of(found)
        steps = plan(found, restore=config.restore)
        if not config.yes:
            return report_of(found).model_copy(update={"repair": as_planned(steps)})
    # The jobs that a repair starts show their own progress.
    done = carry_out(found, steps)
    with Progress() as progress:
        return report_of(look(config, progress)).model_copy(update={"repair": done})
