"""A whole benchmark, without Ray: pictures of coloured shapes, models that differ, one that fails, and what is said."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from jobs.benchmark import Benchmark, BenchmarkConfig, as_text, run
from jobs.config.load import ConfigError, load_config
from made.captioned_shapes import CAPTIONS, draw, fit, save
from operators.base.errors import UserError

EACH = 5
SETTINGS = ("decode.isolate=false", "random_rows=0")


class Shapes:
    """A folder of pictures and a manifest with their captions, and whether each is bright."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        random = np.random.default_rng(7)
        lines = ["uri,caption,bright,series"]
        for number in range(EACH * len(CAPTIONS)):
            caption = CAPTIONS[number % len(CAPTIONS)]
            picture = draw(caption, random, side=64)
            bright = number % 3 == 0
            if bright:
                picture = picture.point(lambda value: min(255, value + 110))
            picture.save(folder / f"{number}.png")
            lines.append(f"{number}.png,{caption},{'yes' if bright else 'no'},s{number // 2}")
        (folder / "broken.png").write_bytes(b"no image")
        (folder / "m.csv").write_text("\n".join([*lines, "broken.png,a red shape,no,"]) + "\n")

    def config(self, *sets: str, **given: Any) -> BenchmarkConfig:
        base = {"source": {"uri": str(self.folder / "m.csv")}, "page": str(self.folder / "page.html"), **given}
        return load_config(BenchmarkConfig, sets=(*SETTINGS, *sets), base=base)


@pytest.fixture(scope="module")
def shapes(tmp_path_factory: pytest.TempPathFactory) -> Shapes:
    return Shapes(tmp_path_factory.mktemp("shapes"))


@pytest.fixture(scope="module")
def found(shapes: Shapes) -> Benchmark:
    models = {
        "cells": {"name": "null"},
        "mean": {"name": "null", "pooling": "avg"},
        "none": {"name": "null", "layer": 1},
    }
    sets = ("price=3.6/h", f"plot={shapes.folder}/plot.png", "changed=12")
    return run(shapes.config(*sets, models=models, label="bright", group="series"))


def test_a_model_that_fails_is_a_line_and_the_others_are_judged(found: Benchmark) -> None:
    assert {each.name: each.failed is None for each in found.models} == {"cells": True, "mean": True, "none": False}
    assert "leave model.layer out" in (found.models[2].failed or "")
    assert "failed  none" in as_text(found)


def test_all_are_compared_on_the_same_images_and_bad_ones_are_counted(found: Benchmark) -> None:
    assert found.sample.images == EACH * len(CAPTIONS)
    assert [each.images for each in found.models[:2]] == [found.sample.images] * 2
    assert found.sample.failures == {"unsupported_format": 1}
    assert found.sample.groups == EACH * len(CAPTIONS) // 2
    assert found.sample.labels == {"no": 26, "yes": 14}


def test_the_mean_colour_tells_what_is_bright_and_is_taken(found: Benchmark) -> None:
    mean = found.models[1]
    # By chance 0.545. Measured: 0.725.
    assert mean.knn[1].mean > 0.65
    assert mean.probe is not None
    assert mean.probe.low <= mean.probe.mean <= mean.probe.high
    assert found.recommendation.model in ("cells", "mean")
    assert found.recommendation.sentence.startswith(f"Take {found.recommendation.model}: 10-NN accuracy 0.")


def test_what_a_model_sees_shows(found: Benchmark) -> None:
    cells, mean = found.models[:2]
    # A mean colour does not know which way round the picture is; cells do.
    assert mean.looks["flip"].cosine.mean > 0.9999
    assert mean.looks["turned"].cosine.mean > 0.9999
    assert cells.looks["turned"].cosine.mean < 0.9999
    assert cells.looks["recompressed"].found.mean > 0.9
    assert cells.looks["grey"].cosine.mean < 1


def test_costs_follow_from_the_price_and_the_pace(found: Benchmark) -> None:
    speed = found.models[0].speed
    assert speed is not None
    assert speed.cost_per_million == pytest.approx(3.6 * 1e6 / speed.images_per_s / 3600)
    full = found.models[0].representations[0]
    assert (full.name, full.bytes_stored) == ("float16", 2 * 192)


def test_each_way_of_storing_says_how_long_a_query_takes(found: Benchmark, shapes: Shapes) -> None:
    speed, stored = found.models[0].speed, found.models[0].representations
    assert speed is not None
    assert speed.query is not None
    assert speed.query == stored[0].query
    assert all(each.query and each.query.rows == each.query.queries == found.sample.images for each in stored)
    # So few rows need no index.
    assert speed.index is None
    text, page = as_text(found), (shapes.folder / "page.html").read_text()
    for said in (f"query ms of {found.sample.images} rows", "none needed"):
        assert said in text
        assert said in page
    assert f"{speed.query.p50_ms:,.2f}" in text


def test_the_page_and_the_plot_are_written_and_the_page_holds_the_json(found: Benchmark, shapes: Shapes) -> None:
    page = (shapes.folder / "page.html").read_text()
    assert found.recommendation.sentence.split("(")[0] in page
    assert "&#34;recommendation&#34;" in page
    assert (shapes.folder / "plot.png").read_bytes()[:4] == b"\x89PNG"
    json.dumps(found.model_dump(mode="json"))


def test_the_same_seed_gives_the_same_figures(found: Benchmark, shapes: Shapes) -> None:
    again = run(
        shapes.config("changed=12", models={"mean": {"name": "null", "pooling": "avg"}}, label="bright", group="series")
    )
    mean = found.models[1]
    assert (again.models[0].knn, again.models[0].looks) == (mean.knn, mean.looks)


def test_without_labels_models_are_compared_by_their_copies(shapes: Shapes) -> None:
    found = run(shapes.config("changed=6", "sample=30", model={"name": "null"}))
    assert found.sample.drawn == 30
    assert found.recommendation.measure == "R@1 of changed copies"
    assert found.models[0].knn == {}
    assert found.recommendation.model == "null"


def test_what_cannot_be_compared_is_said(shapes: Shapes) -> None:
    with pytest.raises(UserError, match="wrong"):
        run(shapes.config(model={"name": "null"}, label="wrong"))
    with pytest.raises(ConfigError, match="write the price of an hour"):
        shapes.config("price=3/day")
    with pytest.raises(ConfigError, match="for the class name"):
        shapes.config(templates=["a photo"])
    folder = shapes.folder / "few"
    folder.mkdir()
    Image.new("RGB", (8, 8)).save(folder / "one.png")
    with pytest.raises(UserError, match="1 of 1 images could be decoded, and 20 are needed"):
        run(shapes.config(source={"uri": str(folder)}, model={"name": "null"}))


@pytest.mark.slow
def test_words_are_compared_where_a_model_has_a_text_tower(shapes: Shapes, tmp_path: Path) -> None:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        save(fit(256), tmp_path / "clip")
    finally:
        torch.set_num_threads(threads)
    clip = {"name": f"open_clip:local-dir:{tmp_path}/clip"}
    models = {"clip": clip, "cells": {"name": "null"}}
    found = run(shapes.config("changed=0", "templates=['{}']", models=models, label="caption", caption="caption"))
    own, cells = found.models
    # By chance an eighth.
    assert own.zero_shot is not None
    assert own.zero_shot.mean > 0.5
    # A caption is one of eight, so that of ten nearest one must be right.
    assert own.image_to_text[10].mean == 1
    assert own.image_to_text[1].mean == pytest.approx(own.zero_shot.mean)
    assert own.text_to_image[1].mean > 0.5
    assert (cells.zero_shot, cells.text_to_image) == (None, {})
