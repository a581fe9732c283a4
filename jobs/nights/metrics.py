"""A night in Prometheus' text format, for node_exporter's textfile collector or a Pushgateway.

Every value is a gauge: the file is a picture of one night and replaced by the next one, so nothing in it counts up.
Label values come from fixed lists, the table's name and its models' names; none comes from an image.
"""

import os

from prometheus_client import CollectorRegistry, Gauge, write_to_textfile

from jobs.nights.report import NightlyReport
from operators.base.errors import UserError

PREFIX = "pixlake_nightly_"


def check_writable(path: str) -> None:
    """Raises `UserError` where the file could not be written when the night is over."""
    folder = os.path.dirname(os.path.abspath(path))
    if not os.path.isdir(folder):
        raise UserError(f"--metrics {path}: there is no folder {folder}; make it first")
    if os.path.isdir(path) or not os.access(folder, os.W_OK):
        raise UserError(f"--metrics {path}: no file can be written there")


def write_metrics(report: NightlyReport, path: str) -> None:
    """Write the file in one step: who reads it meanwhile sees the old one. Raises `OSError`."""
    write_to_textfile(path, night_metrics(report))


def night_metrics(report: NightlyReport) -> CollectorRegistry:
    """All metrics of a night, in a registry of their own: nothing of this process is among them."""
    night = _Gauges(report.name)
    for outcome, rows in report.rows.items():
        night.set("rows", "Images of the night's refresh, by outcome.", rows, outcome=outcome)
    for error_class, rows in report.failures_by_class.items():
        night.set("failures", "Images that the night failed on, by class.", rows, error_class=error_class)
    for step in report.steps:
        night.set("step_seconds", "Seconds that a step took, all its attempts.", step.seconds, step=step.name)
        night.set("step_attempts", "Attempts at a step.", step.attempts, step=step.name)
        night.set("step_ok", "1 if the step is done or was not needed, else 0.", int(step.is_over), step=step.name)
    if report.images_per_s is not None:
        night.set("images_per_second", "Images a second that were embedded in the night.", report.images_per_s)
    behind = report.oldest_unrefreshed_change_s
    if behind is not None:
        night.set(
            "oldest_unrefreshed_change_seconds",
            "Seconds that the oldest change which the table lacks can be old at most, when this was written.",
            behind,
        )
    for column, model in report.live_models.items():
        night.set("live_model_info", "1 for the model of each vector column.", 1, column=column, model=model)
    if report.last_success_at is not None:
        night.set("last_success_timestamp_seconds", "When a night last ended complete.", report.last_success_at)
    night.set("end_timestamp_seconds", "When the command ended.", report.ended_at)
    night.set("exit_status", "Exit code of the command: 0, 1, 2, 3 or 75.", report.exit_status)
    return night.registry


class _Gauges:
    """Gauges of one table, each made when its first value comes."""

    def __init__(self, table: str) -> None:
        self.registry = CollectorRegistry()
        self._table = table
        self._made: dict[str, Gauge] = {}

    def set(self, name: str, about: str, value: float, **labels: str) -> None:
        """Set the gauge's value under the labels; every gauge has the label `table` as well."""
        gauge = self._made.get(name)
        if gauge is None:
            gauge = Gauge(f"{PREFIX}{name}", about, ["table", *labels], registry=self.registry)
            self._made[name] = gauge
        gauge.labels(table=self._table, **labels).set(value)
