"""A benchmark as tables for a terminal."""

from collections.abc import Callable, Sequence

from jobs.benchmarking.recommend import interval
from jobs.benchmarking.results import Benchmark, Measured95, ModelResult, QueryTimeResult
from jobs.reports.evaluation import aligned
from pipelines.judging.changes import COPIES, LOOKS


def as_text(benchmark: Benchmark) -> str:
    """The recommendation, a table of each kind of measure, and where the page is."""
    sample = benchmark.sample
    judged = [each for each in benchmark.models if each.failed is None]
    lines = [
        benchmark.recommendation.sentence,
        "",
        f"{sample.source}: {sample.images:,} images of {sample.rows:,} rows, {sample.changed:,} of them changed; "
        "95 % intervals by bootstrap over images",
        *(f"not decoded  {number:,} {name}" for name, number in sample.failures.items()),
    ]
    for title, columns in tables(benchmark):
        rows = [[each.name, *(cell(each) for _, cell in columns)] for each in judged]
        if judged:
            lines += ["", *aligned([[title, *(name for name, _ in columns)], *rows])]
    for each in judged:
        lines += ["", *_stored(each)]
    lines += [""] if any(each.failed for each in benchmark.models) else []
    lines += [f"failed  {each.name} ({each.model}): {each.failed}" for each in benchmark.models if each.failed]
    lines += ["", f"page  {benchmark.page}", *([f"plot  {benchmark.plot}"] if benchmark.plot else [])]
    return "\n".join(lines)


Cells = list[tuple[str, Callable[[ModelResult], str]]]
"""Headings of a table, and what stands under each for a model."""


def tables(benchmark: Benchmark) -> list[tuple[str, Cells]]:
    """The tables of one row a model: a title and its columns."""
    found: list[tuple[str, Cells]] = []
    judged = [each for each in benchmark.models if each.failed is None]
    if benchmark.label is not None:
        found.append((f"by {benchmark.label}", _label_cells(judged)))
    if any(each.text_to_image for each in judged):
        found.append(("captions", _caption_cells()))
    if any(each.looks for each in judged):
        found.append(("copies found", [("mean", lambda r: shown(r.copies)), *map(_found_cell, COPIES)]))
        found.append(("cosine to original", [*map(_cosine_cell, (*COPIES, *LOOKS))]))
        found.append(("neighbours changed", [*map(_neighbours_cell, (*COPIES, *LOOKS))]))
    found.append(("spread", _domain_cells()))
    found.append(("speed", _speed_cells(benchmark)))
    return found


def shown(value: Measured95 | None) -> str:
    """A mean with its interval, or a dash."""
    return "-" if value is None else interval(value)


def _label_cells(judged: Sequence[ModelResult]) -> Cells:
    ks = sorted({k for each in judged for k in each.knn})
    cells: Cells = [(f"{k}-NN", lambda r, k=k: shown(r.knn.get(k))) for k in ks]  # type: ignore[misc]
    cells += [("mAP", lambda r: shown(r.mean_average_precision)), ("linear probe", lambda r: shown(r.probe))]
    return cells + ([("zero-shot", lambda r: shown(r.zero_shot))] if any(each.zero_shot for each in judged) else [])


def _caption_cells() -> Cells:
    to_image: Cells = [(f"to image R@{k}", lambda r, k=k: shown(r.text_to_image.get(k))) for k in (1, 5, 10)]  # type: ignore[misc]
    to_text: Cells = [(f"to text R@{k}", lambda r, k=k: shown(r.image_to_text.get(k))) for k in (1, 5, 10)]  # type: ignore[misc]
    return to_image + to_text


def _found_cell(kind: str) -> tuple[str, Callable[[ModelResult], str]]:
    return kind, lambda r: f"{r.looks[kind].found.mean:.3f}" if kind in r.looks else "-"


def _cosine_cell(kind: str) -> tuple[str, Callable[[ModelResult], str]]:
    return kind, lambda r: f"{r.looks[kind].cosine.mean:.3f}" if kind in r.looks else "-"


def _neighbours_cell(kind: str) -> tuple[str, Callable[[ModelResult], str]]:
    return kind, lambda r: f"{r.looks[kind].neighbours_changed.mean:.2f}" if kind in r.looks else "-"


def _domain_cells() -> Cells:
    def rank(result: ModelResult) -> str:
        return f"{result.domain.own.effective_rank:,.1f}" if result.domain else "-"

    def rank_of_random(result: ModelResult) -> str:
        random = result.domain.random if result.domain else None
        return f"{random.effective_rank:,.1f}" if random else "-"

    def cosine(result: ModelResult) -> str:
        return f"{result.domain.own.mean_pair_cosine:.3f}" if result.domain else "-"

    def cosine_of_random(result: ModelResult) -> str:
        random = result.domain.random if result.domain else None
        return f"{random.mean_pair_cosine:.3f}" if random else "-"

    def lost(result: ModelResult) -> str:
        return ("yes" if result.domain.lost else "no") if result.domain and result.domain.random else "-"

    return [
        ("effective rank", rank),
        ("random weights", rank_of_random),
        ("cosine of pairs", cosine),
        ("random weights", cosine_of_random),
        ("lost here", lost),
    ]


def _speed_cells(benchmark: Benchmark) -> Cells:
    def number(name: str, form: str) -> Callable[[ModelResult], str]:
        return lambda r: (
            "-" if r.speed is None or getattr(r.speed, name) is None else form.format(getattr(r.speed, name))
        )

    def size(result: ModelResult) -> str:
        return f"{2 * (result.dim or 0) / 1000:,.2f} GB"

    cells: Cells = [
        ("decode ms", number("decode_ms", "{:,.1f}")),
        ("forward ms", number("forward_ms", "{:,.1f}")),
        ("images/s here", number("images_per_s", "{:,.1f}")),
        ("a million vectors", size),
        ("their index", lambda r: "-" if r.speed is None else f"{r.speed.index_bytes / 1e9:,.2f} GB"),
    ]
    for each in benchmark.models:
        if each.speed is not None and each.speed.query is not None:
            cells += [(f"query ms of {each.speed.query.rows:,} rows", _query_cell), ("by an index", _index_cell)]
            break
    price = [] if benchmark.price is None else [("cost a million", number("cost_per_million", "{:,.2f}"))]
    return cells + price


def _query_cell(result: ModelResult) -> str:
    return "-" if result.speed is None else query_ms(result.speed.query)


def _index_cell(result: ModelResult) -> str:
    if result.speed is None or result.speed.index is None:
        return (result.speed.no_index if result.speed else "") or "-"
    index = result.speed.index
    return f"{query_ms(index.query)} ({index.type}, {index.bytes / 1e6:,.1f} MB)"


def query_ms(query: QueryTimeResult | None) -> str:
    """The median in milliseconds, or a dash."""
    return "-" if query is None else f"{query.p50_ms:,.2f}"


def _stored(result: ModelResult) -> list[str]:
    labelled = any(each.knn for each in result.representations)
    heading = [f"{result.name} stored as", "bytes", "recall@10", *(["10-NN"] if labelled else []), "query ms", ""]
    rows = [
        [
            each.name,
            f"{each.bytes_stored:,.0f}",
            shown(each.recall),
            *([shown(each.knn)] if labelled else []),
            query_ms(each.query),
            "on the front" if each.on_front else "",
        ]
        for each in result.representations
    ]
    return [*aligned([heading, *rows]), *(f"{name}: {why}" for name, why in result.not_fitted.items())]
