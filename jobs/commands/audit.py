"""`pixlake audit`."""

from typing import Annotated

import typer

from jobs.commands.options import Configs, Exit, Json, Sets, TableArgument, importing, print_result


def audit(
    table: TableArgument,
    manifest: Annotated[
        str | None, typer.Option(metavar="SOURCE", help="Where the manifest lies now, if it was moved.")
    ] = None,
    sample: Annotated[
        int | None, typer.Option(metavar="N", min=0, help="Rows recomputed from their source. Default: 100.")
    ] = None,
    no_vectors: Annotated[
        bool, typer.Option("--no-vectors", help="Leave out the reading of all vectors, which takes longest.")
    ] = False,
    repair: Annotated[bool, typer.Option("--repair", help="Say what a repair would do.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do it.")] = False,
    restore: Annotated[
        bool, typer.Option("--restore", help="In a repair, embed again what another tool has deleted.")
    ] = False,
    config: Configs = None,
    sets: Sets = None,
    as_json: Json = False,
) -> None:
    """Check TABLE against its manifests, its files and its source, and mend what can be mended if asked."""
    with importing():
        from jobs.audit import AuditConfig, as_text, run
        from jobs.config.load import load_config

    base = {"table": table, "vectors": not no_vectors, "repair": repair, "yes": yes, "restore": restore}
    given = {"manifest": manifest, "sample": sample}
    base |= {name: value for name, value in given.items() if value is not None}
    report = run(load_config(AuditConfig, files=config or (), sets=sets or (), base=base))
    print_result(report.model_dump(mode="json") if as_json else as_text(report), as_json)
    if report.faults:
        raise typer.Exit(Exit.GATE)
    if report.problems:
        raise typer.Exit(Exit.FAILED)
