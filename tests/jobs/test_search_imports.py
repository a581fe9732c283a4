"""A query needs no training library: what a search of a table by an image imports, and what a second one costs."""

import subprocess
import sys
import time
from pathlib import Path

import pytest

from jobs.embed import load, run
from jobs.search import SearchConfig
from jobs.search import run as search
from made.photographs import write_photographs
from operators.models.warm import end_warm_process
from operators.normalize import NormalizeConfig
from pipelines.search.kept_operators import KEPT

NEVER = {
    *("torch", "torchvision", "timm", "open_clip", "transformers", "huggingface_hub", "safetensors.torch"),
    *("ray", "lancedb", "pandas", "aiohttp", "botocore", "s3fs", "faiss", "sklearn", "scipy", "matplotlib"),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("search")


@pytest.fixture(scope="module")
def photographs(folder: Path) -> list[Path]:
    (folder / "images").mkdir()
    return write_photographs(folder / "images")


@pytest.fixture(scope="module")
def table(folder: Path, photographs: list[Path]) -> str:
    name = str(folder / "lake" / "photos")
    # One that an earlier test has warmed may have the network in memory alone.
    end_warm_process()
    base = {"source": {"uri": str(folder / "images")}, "table": name, "cluster": {"executor": "local"}}
    report = run(load(base=base))
    assert report.status == "complete"
    end_warm_process()
    return name


def test_a_search_by_an_image_imports_no_training_library(table: str, photographs: list[Path]) -> None:
    """The network was converted when the table was made, or by the first query."""
    code = (
        "import atexit, sys\n"
        "atexit.register(lambda: print('LOADED', *(name for name, module in sys.modules.items() if module)))\n"
        "from jobs.cli import main\n"
        f"main(['search', {table!r}, '--image', {str(photographs[0])!r}, '--json'])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    told, _, loaded = done.stdout.rpartition("LOADED ")
    assert photographs[0].name in told
    assert "openvino" in loaded.split()
    assert not NEVER & set(loaded.split())


def test_a_second_query_loads_nothing(table: str, photographs: list[Path]) -> None:
    search(SearchConfig(table=table, image=str(photographs[0])))
    with KEPT._lock:
        before = dict(KEPT._operators)
    spent = time.process_time()
    found = search(SearchConfig(table=table, image=str(photographs[1])))
    spent = time.process_time() - spent
    assert found.results[0]["uri"].endswith(photographs[1].name)
    assert KEPT._operators == before
    assert spent < 0.5, "0.03 s of CPU measured, and 0.3 s where model and decoder are made anew"
    assert any(isinstance(each.config, NormalizeConfig) for each in before.values())
