"""`pixlake describe`."""

from jobs.cli_options import Configs, Json, Sets, Table, print_result


def describe(table: Table, config: Configs = None, sets: Sets = None, as_json: Json = False) -> None:
    """What a table holds: rows, model, space, manifests, runs."""
    from jobs.config import load_config
    from jobs.describe import DescribeConfig, as_text, run

    described = run(load_config(DescribeConfig, files=config or (), sets=sets or (), base={"table": table}))
    print_result(described.model_dump(mode="json") if as_json else as_text(described), as_json)
