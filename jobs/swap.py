"""`pixlake swap`: a table moved to another model while it is read and written: backfill, index, gates, flip."""

from typing import Any, Literal

from pydantic import BaseModel, Field

from jobs import embed, index
from jobs.looking.images import packed_rows
from jobs.session.progress import Progress
from jobs.swapping.backfill import Backfilled, backfill, begin, fill_what_is_made, needs_filling, same_swap
from jobs.swapping.bridge import BridgeReport, fit_bridge_of
from jobs.swapping.bridge import as_text as bridge_as_text
from jobs.swapping.change import abandon, finish, flip, roll_back
from jobs.swapping.gate_report import GateConfig, GateReport
from jobs.swapping.gate_report import as_text as gates_as_text
from jobs.swapping.gates import run_gates
from jobs.swapping.plan import NewColumnConfig, TableSettings, in_words, model_of, wanted_model
from jobs.swapping.unfilled import unfilled_lines
from operators.base.errors import printable
from pipelines.evaluation.labels import check_label
from pipelines.index.plan import few
from pipelines.index.records import read_index_record, unindexed_rows, vector_indexes
from pipelines.space.choose import base_columns, choose_base
from pipelines.space.field import read_reductions
from pipelines.swap.columns import lacking_beside
from pipelines.swap.record import note, note_filled
from pipelines.swap.side import left_over
from pipelines.swap.state import Swap, advance, before_name, read_swap, refusal
from pipelines.table.errors import RefusedError

Target = Literal["backfill", "index", "gate", "flip"]
ORDER: tuple[Target, ...] = ("backfill", "index", "gate", "flip")


class SwapConfig(NewColumnConfig):
    """One call of the command, which goes on from the state that it finds."""

    column: str | None = None
    """The column to be replaced, where models fill several."""
    to: Target = "flip"
    """The last step to take."""
    action: Literal["go_on", "rollback", "finish", "abandon", "bridge"] = "go_on"
    insist: bool = False
    """Flip although a gate has failed or something is lacking; finish within `keep_days`."""
    keep_days: float = Field(default=7.0, ge=0)
    """Days after the flip within which the old column is not dropped."""
    gates: GateConfig = GateConfig()


class SwapReport(BaseModel):
    """What the call did, and how the swap stands."""

    table: str
    status: Literal["complete", "interrupted", "failed", "gate_failed"]
    swap: Swap
    did: list[str]
    """The steps that this call took, in order."""
    filled_now: int = 0
    """Rows that got a new vector by this call."""
    examples: dict[str, list[str]] = {}
    """Class -> ids of up to 20 live rows without a new vector; `pixlake failures TABLE__swap` has those that failed."""
    gates: GateReport | None = None
    freed_bytes: int = 0
    bridge: BridgeReport | None = None
    message: str = ""


def run(config: SwapConfig) -> SwapReport:
    """Take the swap as far as asked. Raises `UserError` for what a user can mend, `RecallError` where the new column's
    index finds too little, `TableError` and `OSError` where storage fails."""
    swap = read_swap(config.stored.latest().metadata)
    if config.action != "go_on":
        return _change(config, swap)
    if config.gates.label is not None:
        # Before the backfill, which may take days.
        check_label(config.table, config.stored.latest().schema, config.gates.label, "gates.label")
    if swap is None or swap.over:
        swap = _begin(config)
    if swap.kind == "add" or not same_swap(config, swap):
        raise RefusedError(refusal(swap, "begin another beside", config.table))
    if swap.state in ("rolling_back", "finishing", "abandoning"):
        raise RefusedError(refusal(swap, "go on with", config.table))
    report = SwapReport(table=config.table, status="complete", swap=swap, did=[])
    if swap.state == "flipped":
        return _filled_again(config, report)
    if swap.state == "flipping":
        return _flipped(config, report)
    return _go_on(config, report)


def _filled_again(config: SwapConfig, report: SwapReport) -> SwapReport:
    """After the flip: fill what had failed, or has come without a new vector, if there is any."""
    swap = report.swap
    if not needs_filling(config, swap):
        return report.model_copy(update={"swap": note_filled(config.stored, swap, swap.column)})
    filled = _after_backfill(report, backfill(config, swap, embed.run))
    return filled.model_copy(update={"message": filled.message or report.message})


def _begin(config: SwapConfig) -> Swap:
    schema = config.stored.latest().schema
    column = choose_base(
        config.column,
        base_columns(config.table, schema),
        where=f"table {config.table}",
        option="--column",
        derived=read_reductions(schema),
    )
    field = schema.field(column)
    model = wanted_model(config, field)
    return begin(config, model, kind="swap", column=column, old_model=in_words(model_of(field, config.table)))


def _change(config: SwapConfig, swap: Swap | None) -> SwapReport:
    if swap is None or swap.kind == "add":
        left = left_over(config.stored, swap)
        raise RefusedError(
            f"table {config.table}: no swap is on; `pixlake swap {config.table} --model NEW` begins one"
            + (f". {left}" if left else "")
        )
    report = SwapReport(table=config.table, status="complete", swap=swap, did=[config.action])
    if config.action == "bridge":
        return _bridged(config, report)
    if config.action == "rollback" and swap.state == "rolled_back":
        # Killed after its commit, before it could say so, and started again: it is done.
        return report.model_copy(update={"did": []})
    if config.action == "rollback":
        return report.model_copy(update={"swap": roll_back(config.stored, swap)})
    done = (
        abandon(config.stored, swap)
        if config.action == "abandon"
        else finish(config.stored, swap, config.keep_days, insist=config.insist)
    )
    return report.model_copy(update={"swap": done.swap, "freed_bytes": done.bytes})


def _bridged(config: SwapConfig, report: SwapReport) -> SwapReport:
    """Fit a bridge from the new column to the old one, on the rows that have both by now."""
    swap = report.swap
    new, old = swap.making, swap.column
    if swap.state == "backfill":
        fill_what_is_made(config, swap)
    elif swap.state == "flipped":
        new, old = swap.column, before_name(swap.column)
    schema = config.stored.latest().schema
    if not {new, old} <= set(schema.names):
        raise RefusedError(refusal(swap, "fit a bridge for", config.table))
    with Progress() as progress:
        bridge = fit_bridge_of(config.stored, old=old, new=new, cluster=config.cluster, progress=progress)
    return report.model_copy(update={"bridge": bridge})


def _go_on(config: SwapConfig, report: SwapReport) -> SwapReport:
    swap = report.swap
    if needs_filling(config, swap):
        filled = backfill(config, swap, embed.run)
        report = _after_backfill(report, filled)
        if report.status != "complete":
            return report
    else:
        report.swap = note_filled(config.stored, swap, swap.making)
        if swap.state == "rolled_back":
            report.swap = note(config.stored, report.swap, advance(report.swap, "fill", config.table))
    for step in ORDER[1 : ORDER.index(config.to) + 1]:
        if step == "index":
            report = _indexed(config, report)
        elif step == "gate":
            report = _gated(config, report)
        else:
            report = _flipped(config, report)
        if report.status != "complete":
            break
    return report


def _after_backfill(report: SwapReport, filled: Backfilled) -> SwapReport:
    return report.model_copy(
        update={
            "swap": filled.swap,
            "did": [*report.did, "backfill"],
            "status": filled.status,
            "message": filled.message,
            "filled_now": filled.filled,
            "examples": filled.examples,
        }
    )


def _indexed(config: SwapConfig, report: SwapReport) -> SwapReport:
    """Index the new column as the old one is, at the same recall; where the old one has none, if it is large."""
    swap, table = report.swap, config.stored
    dataset = table.latest()
    old, new = read_index_record(dataset, swap.column), read_index_record(dataset, swap.making)
    small = few(dataset.count_rows(), dataset.schema.field(swap.making).type)
    did = report.did
    if new is not None and unindexed_rows(dataset, swap.making):
        index.run(_index_config(config, {"column": swap.making, "update": True}))
        did = [*did, "index"]
    elif new is None and (old is not None or vector_indexes(dataset, swap.column) or not small):
        like = {} if old is None else {"type": old.type, "metric": old.metric, "target_recall": old.target_recall}
        index.run(_index_config(config, {"column": swap.making, **like}))
        did = [*did, "index"]
    if swap.state == "filled":
        swap = note(table, swap, advance(swap, "index", config.table))
    return report.model_copy(update={"swap": swap, "did": did})


def _index_config(config: SwapConfig, values: dict[str, Any]) -> index.IndexConfig:
    own = {"table": config.table, "storage": config.storage, "table_storage": config.table_storage}
    return index.IndexConfig.model_validate({**own, "cluster": config.cluster, **values})


def _gated(config: SwapConfig, report: SwapReport) -> SwapReport:
    """Measure the gates and store what they gave, whether they pass or not."""
    swap, table = report.swap, config.stored
    roots = (*config.fetch.allowed_roots, *TableSettings.read(config, table.latest()).roots)
    with Progress() as progress:
        gates = run_gates(
            config.gates,
            table,
            old=swap.column,
            new=swap.making,
            storage=config.storage,
            fetch=config.fetch.model_copy(update={"allowed_roots": roots}),
            api=config.api,
            packed=packed_rows(config),
            progress=progress,
        )
    after = advance(
        swap, "gate", config.table, gates=gates.model_dump(mode="json"), gates_passed=gates.passed, insisted=()
    )
    report = report.model_copy(update={"swap": note(table, swap, after), "did": [*report.did, "gate"], "gates": gates})
    if gates.passed or config.insist:
        return report
    why = (
        f"the gates {', '.join(gates.failed)} have failed, and nothing is flipped; `pixlake swap {config.table} "
        "--insist` flips it all the same"
    )
    return report.model_copy(update={"status": "gate_failed", "message": why})


def _flipped(config: SwapConfig, report: SwapReport) -> SwapReport:
    swap, table = report.swap, config.stored
    lacking = lacking_beside(table.latest(), swap.column) if swap.state == "gated" else []
    if lacking and not config.insist:
        raise RefusedError(
            f"table {config.table}: not flipped, since searches would lose something:\n  "
            + "\n  ".join(lacking)
            + f"\n  Make it of {swap.making}, with `pixlake reduce`, `cluster`, `classify` or `pixlake index --column "
            f"{swap.making} --type TYPE`, or flip all the same with --insist"
        )
    failed = () if report.gates is None else tuple(report.gates.failed)
    flipped = flip(table, swap, (*failed, *lacking))
    report = report.model_copy(update={"swap": flipped, "did": [*report.did, "flip"]})
    if flipped.unfilled == swap.unfilled:
        return report
    # Rows have come since the column was filled, or came back.
    return _filled_again(config, report)


def _what_next(report: SwapReport) -> str:
    """What the same command, or another, does from here."""
    again = f"`pixlake swap {report.table}"
    match report.swap.state:
        case "flipped":
            return f"searches use the new model; {again} --rollback` takes it back, --finish drops the old column"
        case "rolled_back":
            return f"searches use the old model again; {again}` flips once more, --abandon drops {report.swap.making}"
        case "finished":
            return f"{before_name(report.swap.column)} and what was derived of it are dropped"
        case "abandoned":
            return f"{report.swap.making} is dropped, and searches are as before"
        case _:
            return f"nothing is flipped yet; {again}` goes on"


def as_text(report: SwapReport) -> str:
    """A few lines for a person."""
    swap = report.swap
    lines = [
        f"swap       {swap.id}: {swap.column} from {swap.old_model} to {swap.new_model}, {swap.state}",
        f"did        {', '.join(report.did) or 'nothing'}",
    ]
    lines += unfilled_lines(swap, report.filled_now, report.examples)
    if report.gates is not None:
        lines.append(gates_as_text(report.gates))
    if report.bridge is not None:
        lines.append(bridge_as_text(report.bridge))
    if report.freed_bytes:
        lines.append(f"freed      {report.freed_bytes / 2**20:,.1f} MiB")
    if swap.insisted:
        lines.append(f"insisted   {'; '.join(swap.insisted)}")
    lines += [report.message or _what_next(report)]
    return "\n".join(printable(part) for line in lines for part in line.split("\n"))
