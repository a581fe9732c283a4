"""Gates of the new column by itself: its vectors, its index, and whether the model here gives what made it."""

from collections.abc import Iterator
from typing import Any

import numpy as np

from jobs.session.progress import Progress
from jobs.swapping.gate_report import Gate
from jobs.swapping.quality import Comparison, not_measured
from operators.models.canaries import CanaryError, canary_cosines, wanted_cosine
from operators.models.resolve import WantedModel, resolve_models
from operators.models.runtime import Runtime
from operators.models.spec import ModelError
from operators.storage.stores import StorageOptions
from pipelines.gate.health import Health, measure_health, share
from pipelines.gate.index_recall import has_index, index_now, needs_index
from pipelines.index.records import read_index_record
from pipelines.space.field import read_canaries, read_space
from pipelines.table.table import Table


def vector_gates(compared: Comparison) -> Iterator[Gate]:
    """Coverage, what the vectors look like, and what the index finds. Both columns are read through once, together."""
    progress, names = compared.progress, [column.name for column in compared.columns]
    progress.phase(f"reading through {' and '.join(names)}")
    total = compared.dataset.count_rows()
    measured = measure_health(
        compared.dataset,
        names,
        compared.config.norm_tolerance,
        lambda done: progress.counted(f"{done:,} of {total:,} rows looked at", done / max(total, 1)),
    )
    old, new = (measured[name] for name in names)
    yield _coverage(old, new, compared.config.min_coverage)
    yield from _look(old, new, compared)
    progress.phase(f"asking the index on {compared.new.name}")
    yield _index_gate(compared, new)


def _coverage(old: Health, new: Health, least: float) -> Gate:
    return Gate(
        name="coverage",
        old=old.filled / old.rows if old.rows else None,
        new=new.filled / new.rows if new.rows else None,
        threshold=least,
        bound="at least",
        passed=new.filled / new.rows >= least if new.rows else None,
        how=f"{new.filled:,} of {new.rows:,} live rows have a vector",
        rows=new.rows,
    )


def _look(old: Health, new: Health, compared: Comparison) -> Iterator[Gate]:
    config = compared.config
    if not new.vectors:
        for name in ("finite", "norms", "constant", "duplicates"):
            yield not_measured(name, "the column has no vectors")
        return
    yield _at_most(
        "finite",
        share(old.not_finite, old.vectors),
        share(new.not_finite, new.vectors),
        config.max_not_finite,
        f"{new.not_finite:,} of {new.vectors:,} vectors have a NaN, an infinity or zeros alone",
        new.vectors,
    )
    record = read_space(compared.dataset.schema.field(compared.new.name), str(compared.table))[0]
    if record.get("normalize", {}).get("l2"):
        yield _at_most(
            "norms",
            share(old.off_norm, old.vectors),
            share(new.off_norm, new.vectors),
            config.max_off_norm,
            f"{new.off_norm:,} of {new.vectors:,} vectors are further than {config.norm_tolerance:g} from length 1",
            new.vectors,
        )
    else:
        yield not_measured("norms", "this column's vectors are not brought to length 1")
    yield _at_most(
        "constant",
        share(old.constant, old.dim),
        share(new.constant, new.dim),
        config.max_constant,
        f"{new.constant:,} of {new.dim:,} numbers are the same in every vector",
        new.vectors,
    )
    before = share(old.duplicates, old.filled)
    yield _at_most(
        "duplicates",
        before,
        share(new.duplicates, new.filled),
        before + config.max_more_duplicates,
        f"{new.duplicates:,} of {new.filled:,} rows have exactly the vector of an image with other bytes",
        new.filled,
    )


def _at_most(name: str, old: float, new: float, most: float, how: str, rows: int) -> Gate:
    return Gate(name=name, old=old, new=new, threshold=most, bound="at most", passed=new <= most, how=how, rows=rows)


def _index_gate(compared: Comparison, new: Health) -> Gate:
    name, config, dataset = compared.new.name, compared.config, compared.dataset
    found = index_now(compared.table, dataset, name, count=config.sample, seed=config.seed)
    if found is None:
        if needs_index(dataset, name, new.vectors) and has_index(dataset, compared.old.name):
            why = f"{compared.old.name} has an index and {name} has none, so searches would become slow: pixlake index"
            return Gate(name="index_recall", passed=False, how=f"{why} {compared.table} --column {name}")
        return not_measured("index_recall", f"{name} has no index of Pixlake's; searches compare with every row")
    before = read_index_record(dataset, compared.old.name)
    wanted = config.min_index_recall or found.record.target_recall
    return Gate(
        name="index_recall",
        old=before.recall if before else None,
        new=found.recall,
        threshold=wanted,
        bound="at least",
        # The index was tuned to reach its target on some queries: on others it may miss it by chance.
        passed=found.recall >= wanted - config.max_loss,
        how=f"index recall@{found.record.k} of {found.record.type} over {found.queries:,} rows as queries, "
        f"{config.max_loss:g} allowed for chance; {found.unindexed_rows:,} rows are not in it",
        rows=found.queries,
    )


def canary_gate(table: Table, dataset: Any, column: str, storage: StorageOptions, progress: Progress) -> Gate:
    """Whether the model of a column gives the vectors here and now that were recorded when it was made."""
    field = dataset.schema.field(column)
    expected = read_canaries(field)
    if expected is None:
        return not_measured("canaries", "none are recorded for this kind of model")
    record, model = read_space(field, str(table))
    progress.phase(f"embedding canary images by {model.spec.name}")
    backend = record["embed"].get("backend", "torch")
    runtime = Runtime(
        backend="auto" if expected.precision == "float32" else backend,
        precision=expected.precision,
        storage=storage,
    )
    try:
        [here] = resolve_models([WantedModel(spec=model.spec, runtime=runtime, canaries=True)])
        if here.canaries is None:
            return not_measured("canaries", f"this machine cannot run the model in {expected.precision}")
        cosines = canary_cosines(expected, here.canaries.to_numpy(), name=model.spec.name)
    except (ModelError, CanaryError) as error:
        return Gate(name="canaries", passed=False, how=str(error))
    worst, wanted = float(np.nan_to_num(cosines.min(), nan=0.0)), wanted_cosine(expected)
    return Gate(
        name="canaries",
        new=worst,
        threshold=wanted,
        bound="at least",
        passed=worst >= wanted,
        how=f"least cosine of {len(cosines)} canary images to those recorded ({expected.device}), on this machine",
        rows=len(cosines),
    )
