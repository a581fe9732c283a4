"""A benchmark as one HTML page, and its plots as a PNG."""

from collections.abc import Sequence
from typing import Any

from jobs.benchmarking.results import Benchmark, ModelResult
from jobs.benchmarking.sample import DrawnImages
from jobs.benchmarking.text import query_ms, shown, tables
from jobs.reports.page.blocks import (
    PageBlock,
    PageCell,
    PageCode,
    PageFacts,
    PageImage,
    PageImages,
    PageSection,
    PageTable,
    PageText,
    WebPage,
)
from jobs.reports.page.pictures import data_uri
from jobs.reports.page.plots import COLOURS, plot, plot_png
from jobs.reports.page.render import render_page
from pipelines.judging.changes import COPIES, LOOKS
from pipelines.judging.representations import pareto

_ABOUT = {
    "by": "k-NN: most of the k nearest other images have the image's label. mAP: how high all images with its label "
    "are ranked. Linear probe: logistic regression that has seen no image of the image's group. Below each figure is "
    "its 95 % interval, by bootstrap over images.",
    "captions": "R@k: a right answer is among the k nearest, from caption to image and from image to caption.",
    "copies found": "Share of the changed copies whose original is nearest of all images in the sample.",
    "cosine to original": "How far a change moves the vector: 1 is not at all. Of two models the one with the lower "
    "cosine sees the change more.",
    "neighbours changed": "Share of the ten nearest images that a change replaces by others: unlike the cosine it can "
    "be compared between models whose vectors lie close together anyway.",
    "spread": "Effective rank: how many different images the sample seems to hold. Cosine of pairs: how alike any two "
    "look to the model. A model that does no better than the same network with random weights is lost on these images.",
    "speed": "Decoding and forward pass in milliseconds of one core (on a GPU: of its own); images/s is what an embed "
    "job can be expected to do on this machine. Query ms: the median of a query for the ten nearest, one at a time, in "
    "a table of so many rows, compared with every row; and by the index that would be built, where one is needed.",
}

_MARKERS = {"float16": "s", "pca": "o", "first": "v", "int8": "P", "binary": "D", "pq": "X"}
"""Beginning of a representation's name -> its marker in the plot."""
_SHORT = {"first": "first dimensions", "binary": "binary, rescored or not"}


def benchmark_page(benchmark: Benchmark, drawn: DrawnImages) -> str:
    """The page: the recommendation, tables and plots, the sample, and the JSON."""
    judged = [each for each in benchmark.models if each.failed is None]
    sections = [PageSection(heading="Models", blocks=_models(benchmark))]
    if judged:
        sections.append(PageSection(heading="Accuracy against bytes and cost", blocks=_plots(benchmark)))
    for title, columns in tables(benchmark) if judged else []:
        rows = [[each.name, *(_cell(cell(each)) for _, cell in columns)] for each in judged]
        marked = [at for at, each in enumerate(judged) if each.name == benchmark.recommendation.model]
        table = PageTable(
            columns=("model", *(name for name, _ in columns)),
            rows=rows,
            numbers=tuple(range(1, len(columns) + 1)),
            marked=marked,
        )
        about = _ABOUT["by" if title.startswith("by ") else title]
        blocks: list[PageBlock] = [PageText(about), table]
        if title == "cosine to original":
            blocks.insert(0, _changes(drawn))
        sections.append(PageSection(heading=title.capitalize(), blocks=blocks))
    sections += [
        PageSection(heading="Shorter and coarser vectors", blocks=[*map(_stored, judged)]),
        PageSection(heading="The sample", blocks=_sample(benchmark, drawn)),
        PageSection(heading="All figures", blocks=[PageCode(text=benchmark.model_dump_json(indent=2), summary="JSON")]),
    ]
    return render_page(
        WebPage(
            title=f"Which model for {benchmark.sample.source}",
            lead=benchmark.recommendation.sentence,
            sections=[section for section in sections if section.blocks],
            footer=f"pixlake benchmark, {benchmark.made_at}, seed {benchmark.seed}, {benchmark.cores} cores, "
            f"{benchmark.device}.",
        )
    )


def benchmark_png(benchmark: Benchmark) -> bytes:
    """Both plots side by side."""

    def draw(figure: Any) -> None:
        bytes_panel, cost_panel = figure.subplots(1, 2)
        _draw_bytes(bytes_panel, benchmark)
        _draw_cost(cost_panel, benchmark)

    return plot_png(draw, size=(12, 4.6))


def _cell(text: str) -> str | PageCell:
    """The interval of a figure as small print."""
    mean, bracket, rest = text.partition(" (")
    return PageCell(mean, note=rest.removesuffix(")")) if bracket else text


def _models(benchmark: Benchmark) -> list[PageBlock]:
    rows = [
        (
            each.name,
            each.model,
            "" if each.dim is None else f"{each.dim:,}",
            "" if each.parameters is None else f"{each.parameters / 1e6:,.1f} M",
            _standing(benchmark, each),
        )
        for each in benchmark.models
    ]
    marked = [at for at, each in enumerate(benchmark.models) if each.name == benchmark.recommendation.model]
    table = PageTable(
        columns=("name", "model", "dimensions", "parameters", "standing"), rows=rows, numbers=(2, 3), marked=marked
    )
    why = [f"{each.name}: {each.domain.why}." for each in benchmark.models if each.domain and each.domain.random]
    notes = [f"{each.name}: {note}" for each in benchmark.models for note in each.notes]
    blocks: list[PageBlock] = [table]
    if why or notes:
        blocks.append(PageText("\n".join([*why, *notes])))
    return blocks


def _standing(benchmark: Benchmark, result: ModelResult) -> str | PageCell:
    if result.failed:
        return PageCell("failed", strong=True, note=result.failed)
    return "lost here" if result.name in benchmark.recommendation.lost else ""


def _plots(benchmark: Benchmark) -> list[PageBlock]:
    measure = _quality_name(benchmark)

    def draw_bytes(figure: Any) -> None:
        _draw_bytes(figure.subplots(), benchmark)

    def draw_cost(figure: Any) -> None:
        _draw_cost(figure.subplots(), benchmark)

    return [
        plot(
            draw_bytes,
            alt=f"{measure} of each way of storing each model's vectors, against bytes a vector",
            caption="Fitted on one half of the images, measured on the other. Ringed: nothing that was measured is "
            "better for as few bytes.",
        ),
        plot(
            draw_cost,
            alt=f"{_cost_quality_name(benchmark)} of each model against {_cost_name(benchmark)}",
            caption="The vectors as the model gives them, with 95 % intervals. Ringed: no model is better and cheaper.",
        ),
    ]


def _quality_name(benchmark: Benchmark) -> str:
    return "10-NN accuracy" if benchmark.label is not None else "recall@10 of the model's own vectors"


def _cost_quality_name(benchmark: Benchmark) -> str:
    return benchmark.recommendation.measure


def _cost_name(benchmark: Benchmark) -> str:
    return "core seconds a thousand images" if benchmark.price is None else "cost of a million images"


def _draw_bytes(panel: Any, benchmark: Benchmark) -> None:
    used: set[int] = set()
    for at, result in enumerate(benchmark.models):
        there = [(each, value) for each in result.representations if (value := each.knn or each.recall) is not None]
        if not there:
            continue
        colour = COLOURS[at % len(COLOURS)]
        for number, (kind, marker) in enumerate(_MARKERS.items()):
            own = sorted((each.bytes_stored, value.mean) for each, value in there if each.name.startswith(kind))
            if own:
                line = "-" if kind in ("pca", "first") else ""
                panel.plot(*zip(*own, strict=True), f"{marker}{line}", color=colour, markersize=5, linewidth=0.8)
                used.add(number)
        panel.plot([], [], "s", color=colour, label=result.name)
        for each, value in there:
            if each.on_front:
                place = (each.bytes_stored, value.mean)
                panel.plot(*place, "o", markersize=12, markerfacecolor="none", color=colour)
                panel.annotate(each.name, place, (0, 9), textcoords="offset points", fontsize=7, ha="center")
    for number, (kind, marker) in enumerate(_MARKERS.items()):
        if number in used:
            panel.plot([], [], marker, color="#888888", label=_SHORT.get(kind, kind))
    _byte_axis(panel)
    panel.set_xlabel("bytes stored a vector")
    panel.set_ylabel(_quality_name(benchmark))
    panel.margins(y=0.12)
    panel.grid(alpha=0.5)
    panel.legend(loc="best", fontsize=8)


def _byte_axis(panel: Any) -> None:
    from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

    panel.set_xscale("log", base=2)
    panel.xaxis.set_major_locator(LogLocator(base=2))
    panel.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    panel.xaxis.set_minor_locator(NullLocator())


def _draw_cost(panel: Any, benchmark: Benchmark) -> None:
    points = [point for result in benchmark.models if (point := _cost_point(benchmark, result)) is not None]
    front = pareto([cost for _, cost, _ in points], [value.mean for _, _, value in points])
    for (name, cost, value), on in zip(points, front, strict=True):
        spread = [[max(value.mean - value.low, 0)], [max(value.high - value.mean, 0)]]
        drawn = panel.errorbar([cost], [value.mean], yerr=spread, fmt="o", markersize=5, capsize=3, label=name)
        if on:
            colour = drawn[0].get_color()
            panel.plot([cost], [value.mean], "o", markersize=12, markerfacecolor="none", color=colour)
    panel.set_xlabel(_cost_name(benchmark))
    panel.set_ylabel(_cost_quality_name(benchmark))
    panel.grid(alpha=0.5)
    if points:
        panel.set_xlim(0, 1.2 * max(cost for _, cost, _ in points))
        panel.legend(loc="lower left", fontsize=8)


def _cost_point(benchmark: Benchmark, result: ModelResult) -> tuple[str, float, Any] | None:
    value = result.knn.get(10) if benchmark.label is not None else result.text_to_image.get(1) or result.copies
    if value is None or result.speed is None:
        return None
    cost = result.speed.cost_per_million
    if cost is None:
        cost = result.speed.decode_ms + result.speed.forward_ms
    return result.name, cost, value


def _stored(result: ModelResult) -> PageTable:
    labelled = any(each.knn for each in result.representations)
    rows = [
        (
            each.name,
            f"{each.dim:,}",
            f"{each.bytes_per_vector:,.0f}",
            f"{each.bytes_stored:,.0f}",
            f"{each.bytes_stored / 1000:,.2f} GB",
            _cell(shown(each.recall)),
            *((_cell(shown(each.knn)),) if labelled else ()),
            query_ms(each.query),
        )
        for each in result.representations
    ]
    missing = "; ".join(f"{name}: {why}" for name, why in result.not_fitted.items())
    headings = ("stored as", "dimensions", "bytes searched", "bytes stored", "a million", "recall@10")
    return PageTable(
        columns=(*headings, *(("10-NN",) if labelled else ()), "query ms"),
        rows=rows,
        numbers=tuple(range(1, 8 if labelled else 7)),
        marked=[at for at, each in enumerate(result.representations) if each.on_front],
        caption=f"{result.name}{f' (not fitted: {missing})' if missing else ''}",
    )


def _changes(drawn: DrawnImages) -> PageImages:
    images = [
        PageImage(source=data_uri(drawn.changed_example[kind], "image/jpeg"), alt=f"An image, {kind}", caption=kind)
        for kind in (*COPIES, *LOOKS)
        if kind in drawn.changed_example
    ]
    return PageImages(images=images, caption="The changes, of one image of the sample:")


def _sample(benchmark: Benchmark, drawn: DrawnImages) -> list[PageBlock]:
    sample = benchmark.sample
    facts = [
        ("source", sample.source),
        ("rows", f"{sample.rows:,}"),
        ("drawn by position", f"{sample.drawn:,}"),
        ("images compared", f"{sample.images:,}"),
        ("groups that never judge each other", f"{sample.groups:,}"),
        ("changed", f"{sample.changed:,}"),
    ]
    blocks: list[PageBlock] = [PageFacts(facts)]
    if sample.labels:
        rows = [(name, f"{number:,}") for name, number in sorted(sample.labels.items(), key=lambda each: -each[1])]
        blocks.append(PageTable(columns=(benchmark.label or "label", "images"), rows=rows[:50], numbers=(1,)))
    if sample.failures:
        rows = [(name, f"{number:,}") for name, number in sample.failures.items()]
        blocks.append(PageTable(columns=("not decoded", "images"), rows=rows, numbers=(1,)))
        blocks.append(PageText(f"The first: {sample.failure_example}"))
    thumbnails: Sequence[bytes] = drawn.thumbnails
    if thumbnails:
        images = [PageImage(source=data_uri(each, "image/jpeg"), alt="An image of the sample") for each in thumbnails]
        blocks.append(PageImages(images=images))
    return blocks
