"""`pixlake benchmark`: several models on the same images of one source, and which of them to take."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from jobs.benchmarking.config import BenchmarkConfig
from jobs.benchmarking.measure import Judged, SharedImages, judge
from jobs.benchmarking.models import Contestant, OutOfTheRace, resolve_each, why_of
from jobs.benchmarking.page import benchmark_page, benchmark_png
from jobs.benchmarking.recommend import recommend
from jobs.benchmarking.results import Benchmark, ModelResult
from jobs.benchmarking.sample import DrawnImages, Sampling
from jobs.benchmarking.speed import speed_of, with_query_times
from jobs.benchmarking.text import as_text
from jobs.benchmarking.texts import by_words
from jobs.benchmarking.told import Told, sample_result, told_by_source
from jobs.benchmarking.vectors import CopiesTold, Embedded, copies_told, embed_all
from jobs.reports.run_report import store_bytes
from jobs.session.progress import Progress
from jobs.training.images import open_images
from operators.base.errors import UserError
from operators.decode import DecodeConfig, share_pixels
from operators.storage.uris import from_anywhere
from pipelines.embedding.chain import decode_operators, operator_chain
from pipelines.embedding.columns import Options
from pipelines.judging.representations import pareto
from pipelines.manifests.manifest import Manifest
from pipelines.sources.drawn import draw_positions, work_at
from pipelines.sources.image_bytes import source_of

__all__ = ["Benchmark", "BenchmarkConfig", "as_text", "run"]

FEWEST = 20
"""Images with which there is anything to compare."""


def run(config: BenchmarkConfig) -> Benchmark:
    """Compare the models, and write the page. Raises `UserError` where the source cannot be read, a column is not
    there, or too few images can be decoded; a model that fails is a line of the result."""
    config = config.model_copy(
        update={"source": config.source.model_copy(update={"uri": from_anywhere(config.source.uri)})}
    )
    with Progress() as progress, TemporaryDirectory(prefix="pixlake-benchmark-") as folder:
        progress.phase("opening the source")
        manifest = open_images(config, "a benchmark embeds images", folder, progress)
        models = resolve_each(config, progress.phase)
        running = [each for each in models if isinstance(each, Contestant)]
        progress.phase("drawing the sample")
        drawn, options = _draw(config, manifest, running, Path(folder), progress)
        told = told_by_source(config, drawn.rows)
        embedded, failed = _embed(config, options, running, drawn, progress)
        results, judged, shared = _judge(config, models, embedded, failed, drawn, told, folder, progress)
        measure = _measure_name(config, told)
        recommendation = recommend(judged, shared, measure)
        benchmark = Benchmark(
            made_at=datetime.now(UTC).isoformat(timespec="seconds"),
            seed=config.seed,
            label=config.label,
            group=config.group,
            caption=config.caption,
            price=config.price,
            cores=config.cluster.cores_here,
            device=config.cluster.device,
            sample=sample_result(config, manifest, drawn, told, shared),
            models=_with_fronts(results),
            recommendation=recommendation,
            page=config.page,
            plot=config.plot,
        )
        progress.phase(f"writing {config.page}")
        store_bytes(benchmark_page(benchmark, drawn).encode(), config.page, config.storage)
        if config.plot is not None:
            store_bytes(benchmark_png(benchmark), config.plot, config.storage)
    return benchmark


def _draw(
    config: BenchmarkConfig, manifest: Manifest, models: Sequence[Contestant], folder: Path, progress: Progress
) -> tuple[DrawnImages, Options]:
    roots = (*manifest.allowed_roots, *config.fetch.allowed_roots)
    options = Options(
        fetch=config.fetch.model_copy(update={"storage": config.storage, "allowed_roots": roots}),
        decode=config.decode,
        normalize=config.normalize,
        api=config.api,
    )
    if not models:
        raise UserError("no model can be used: give --model, see `pixlake models`")
    columns = [each.column for each in models]
    fetch = operator_chain(columns, options, config.cluster)["fetch"][0]
    targets, _ = share_pixels({each.name: each.model.preprocess for each in columns})
    [decode] = decode_operators(config.decode, targets, None)["decode"]
    assert isinstance(decode, DecodeConfig)
    source = source_of(manifest.columns, config.storage)
    limit = config.source.limit
    rows = manifest.num_rows if limit is None else min(limit, manifest.num_rows)
    positions = draw_positions(rows, config.sample, config.seed)
    # Of any number of the first images of the sample each is drawn at random.
    ends = [config.changed, max(config.changed, config.random_rows)]
    first, second, third = (list(work_at(manifest.shards, some)) for some in np.split(positions, ends))
    sampling = Sampling(source, fetch, decode, cores=config.cluster.cores_here, folder=folder, counted=progress.counted)
    drawn = sampling.draw(first, [*second, *third])
    if drawn.rows.num_rows < FEWEST:
        why = f"; the first that was not: {drawn.failure_example}" if drawn.failure_example else ""
        raise UserError(
            f"{manifest.uri}: {drawn.rows.num_rows} of {drawn.drawn} images could be decoded, and {FEWEST} are "
            f"needed to compare models{why}"
        )
    return drawn, options


def _embed(
    config: BenchmarkConfig,
    options: Options,
    models: Sequence[Contestant],
    drawn: DrawnImages,
    progress: Progress,
) -> tuple[dict[str, Embedded], dict[str, str]]:
    """(name -> vectors, name -> why there are none)."""
    _, pixels = share_pixels({each.column.name: each.column.model.preprocess for each in models})
    found: dict[str, Embedded] = {}
    failed: dict[str, str] = {}
    images = drawn.originals.rows + drawn.copies.rows
    for each in models:
        progress.phase(f"{each.name}: embedding {images:,} images and copies")
        try:
            found[each.name] = embed_all(each, pixels[each.column.name], config, options, drawn)
        except Exception as error:
            failed[each.name] = why_of(error)
    return found, failed


def _judge(
    config: BenchmarkConfig,
    models: Sequence[Contestant | OutOfTheRace],
    embedded: dict[str, Embedded],
    failed: dict[str, str],
    drawn: DrawnImages,
    told: Told,
    folder: str,
    progress: Progress,
) -> tuple[list[ModelResult], list[Judged], SharedImages | None]:
    shared = _shared(config, embedded, drawn, told)
    results: list[ModelResult] = []
    judged: list[Judged] = []
    given = {config.called(column): model.name for column, model in config.columns.items()}
    for each in models:
        why = each.why if isinstance(each, OutOfTheRace) else failed.get(each.name)
        if isinstance(each, OutOfTheRace) or shared is None or why is not None:
            results.append(ModelResult(name=each.name, model=given[each.name], failed=why or "no image has a vector"))
            continue
        own = embedded[each.name]
        one = _judge_one(config, each, given[each.name], own, drawn, told, shared, progress.phase)
        progress.phase(f"{each.name}: how long a query takes")
        one = with_query_times(one, own.images[shared.rows], config, folder)
        judged.append(one)
        results.append(one.result)
    return results, judged, shared


def _shared(
    config: BenchmarkConfig, embedded: dict[str, Embedded], drawn: DrawnImages, told: Told
) -> SharedImages | None:
    if not embedded:
        return None
    there = ~np.any([np.isnan(each.images[:, 0]) for each in embedded.values()], axis=0)
    rows = np.flatnonzero(there)
    if len(rows) < FEWEST:
        return None
    copies: CopiesTold = copies_told(drawn.copies)
    labels = None if told.labels is None else told.labels[rows]
    return SharedImages(rows=rows, groups=told.groups[rows], labels=labels, copies=copies, seed=config.seed)


def _judge_one(
    config: BenchmarkConfig,
    model: Contestant,
    given: str,
    embedded: Embedded,
    drawn: DrawnImages,
    told: Told,
    shared: SharedImages,
    phase: Callable[[str], None],
) -> Judged:
    description = model.column.model
    result = ModelResult(
        name=model.name,
        model=_described(given, model),
        dim=description.dim,
        parameters=description.num_parameters,
        speed=speed_of(config, model, embedded, drawn),
        notes=list(description.notes),
    )
    judged = judge(result, embedded, shared, phase)
    if not description.text or (told.captions is None and not told.classes):
        return judged
    phase(f"{model.name}: captions and class names")
    captions = None if told.captions is None else [told.captions[row] for row in shared.rows]
    try:
        fields, found = by_words(description, embedded.images[shared.rows], shared, config, captions, told.classes)
    except Exception as error:
        fields, found = {"notes": [*result.notes, f"words could not be embedded: {why_of(error)}"]}, None
    quality = found if found is not None and told.labels is None else judged.quality
    return replace(judged, result=judged.result.model_copy(update=fields), quality=quality)


def _described(given: str, model: Contestant) -> str:
    spec = model.column.model.spec
    options = [] if spec.pooling == "default" else [f"pooling {spec.pooling}"]
    options += [] if spec.layer is None else [f"layer {spec.layer}"]
    size = spec.preprocess.image_size
    options += [] if size is None else [f"image size {size}"]
    return ", ".join([given, *options])


def _measure_name(config: BenchmarkConfig, told: Told) -> str:
    if told.labels is not None:
        return "10-NN accuracy"
    return "text-to-image R@1" if told.captions is not None else "R@1 of changed copies"


def _with_fronts(results: Sequence[ModelResult]) -> list[ModelResult]:
    """Marked which ways of storing no other one beats: by labels whichever model's, without them of the same model."""
    front: set[tuple[int, int]] = set()
    # Recall is against a model's own vectors, and says nothing of another's.
    labelled = any(each.knn for result in results for each in result.representations)
    for some in [range(len(results))] if labelled else [[at] for at in range(len(results))]:
        every = [
            (at, number, each.bytes_stored, value.mean)
            for at in some
            for number, each in enumerate(results[at].representations)
            if (value := each.knn or each.recall) is not None
        ]
        best = pareto([each[2] for each in every], [each[3] for each in every])
        front |= {(at, number) for (at, number, _, _), on in zip(every, best, strict=True) if on}
    return [
        result.model_copy(
            update={
                "representations": [
                    each.model_copy(update={"on_front": (at, number) in front})
                    for number, each in enumerate(result.representations)
                ]
            }
        )
        for at, result in enumerate(results)
    ]
