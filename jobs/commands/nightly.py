"""`pixlake nightly`."""

from typing import Annotated

import typer

from jobs.commands.options import Json, Sets, importing, print_result


def nightly(
    config: Annotated[str, typer.Argument(metavar="CONFIG", help="The night's YAML file: see conf/jobs/nightly.yaml.")],
    night: Annotated[
        str | None, typer.Option(metavar="DATE", help="Which night, the name of its tag; today's (UTC) unless given.")
    ] = None,
    if_running: Annotated[
        str | None,
        typer.Option(metavar="wait|leave", help="While another night is running: wait, or leave (default)."),
    ] = None,
    metrics: Annotated[
        str | None, typer.Option(metavar="FILE", help="Write Prometheus' text format there at the end.")
    ] = None,
    sets: Sets = None,
    as_json: Json = False,
) -> None:
    """Refresh, upkeep, tag, gates, drift, report: one night. The same command again resumes, or does nothing."""
    with importing():
        from jobs.config.load import load_config
        from jobs.nightly import NightlyConfig, as_text, run
        from jobs.nightly import as_json as report_as_json

    named = {"night": night, "if_running": if_running, "metrics": metrics}
    base = {name: value for name, value in named.items() if value is not None}
    report = run(load_config(NightlyConfig, files=[config], sets=sets or (), base=base))
    print_result(report_as_json(report) if as_json else as_text(report), as_json)
    raise typer.Exit(report.exit_status)
