"""`pixlake classify`."""

from typing import Annotated

import typer

from jobs.commands.options import Configs, Json, Sets, TableArgument, importing, print_result


def classify(
    table: TableArgument,
    by: Annotated[
        str | None,
        typer.Option(metavar="WAY", help="zero-shot, probe or knn. Default: zero-shot with classes, else probe."),
    ] = None,
    class_names: Annotated[
        list[str] | None, typer.Option("--class", metavar="NAME", help="A class, for zero-shot; again for each.")
    ] = None,
    classes_file: Annotated[
        str | None, typer.Option("--classes", metavar="FILE", help="The classes, a name a line.")
    ] = None,
    template: Annotated[
        list[str] | None,
        typer.Option(metavar="TEXT", help="A text with {} where the name goes, in place of the built-in ones."),
    ] = None,
    label: Annotated[
        str | None, typer.Option(metavar="COLUMN", help="Known labels: learned from, and measured by.")
    ] = None,
    group: Annotated[
        str | None, typer.Option(metavar="COLUMN", help="Rows of one value stay on one side of the split.")
    ] = None,
    column: Annotated[str | None, typer.Option(help="The model's column, where the table has several.")] = None,
    name: Annotated[
        str | None, typer.Option(help="The column to make, beside NAME_score and NAME_margin. Default: predicted.")
    ] = None,
    threshold: Annotated[
        float | None, typer.Option(min=0, max=1, help="No class under this score. Default: 0.0.")
    ] = None,
    neighbours: Annotated[int | None, typer.Option(min=1, help="How many have a vote. Default: 10.")] = None,
    sample: Annotated[int | None, typer.Option(min=10, help="Labelled rows to use, at most. Default: 50,000.")] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="Of sample and split. Default: 0.")] = None,
    config: Configs = None,
    sets: Sets = None,
    as_json: Json = False,
) -> None:
    """Say of each row which class it is of: by the classes' names, a linear probe or labelled neighbours."""
    with importing():
        from jobs.classify import ClassifyConfig, read_names, run
        from jobs.config.load import load_config
        from jobs.labelling.classify_report import as_text

    names = (*(class_names or ()), *(read_names(classes_file) if classes_file else ()))
    values = {
        "table": table,
        "by": by.replace("-", "_") if by else None,
        "classes": names or None,
        "templates": tuple(template) if template else None,
        "label": label,
        "group": group,
        "column": column,
        "name": name,
        "threshold": threshold,
        "neighbours": neighbours,
        "sample": sample,
        "seed": seed,
    }
    given = {key: value for key, value in values.items() if value is not None}
    report = run(load_config(ClassifyConfig, files=config or (), sets=sets or (), base=given))
    print_result(report.model_dump(mode="json") if as_json else as_text(report), as_json)
