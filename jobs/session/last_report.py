"""The report of a run whose process is ended from outside: its parent keeps it, and gives it from there."""

import base64
import pickle
from typing import Any

from jobs.reports.run_report import Report, store_run_file
from jobs.session.sudden_end import SuddenEnd
from jobs.session.watched import say
from operators.storage.stores import StorageOptions
from pipelines.table.names import TableNames

KEY = "embed"


def keep_for_the_parent(report: Report, names: TableNames, storage: StorageOptions) -> None:
    """Tell the parent how far the run is: what it reports, should this process be ended now."""
    place = base64.b64encode(pickle.dumps((names, storage))).decode()
    say(KEY, {"report": report.model_dump(mode="json"), "place": place})


def forget() -> None:
    """The run's own report is on its way."""
    say(KEY, None)


def finish_report(kept: dict[str, Any], end: SuddenEnd) -> tuple[Report, str]:
    """The report, stored beside the table, of a run that ended so; and what there is to say where it cannot be
    stored."""
    # Pickled by our own child: secrets, masked in every other form, go with it.
    names, storage = pickle.loads(base64.b64decode(kept["place"]))
    report = Report.model_validate(kept["report"]).model_copy(update={"status": end.status, "message": end.message})
    try:
        store_run_file(report, report.run_id, "report.json", names, storage)
    except OSError as error:
        return report, f"the report of run {report.run_id} is not stored: {error}"
    return report, ""
