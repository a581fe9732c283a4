"""What each kind of process must not import: seconds and hundreds of megabytes that it has no use for."""

import pickle
import subprocess
import sys
from pathlib import Path

import cloudpickle
import pytest

from jobs.embed import load, run
from jobs.embedding.prepare import prepare
from made.photographs import write_photographs

ROOT = Path(__file__).parents[1]
MODELS = {"torch", "torchvision", "open_clip", "timm", "transformers", "huggingface_hub", "openvino"}
ENGINES = {"ray", "lance", "lancedb", "pyarrow", "obstore"}
OTHERS = {"pandas", "s3fs", "botocore", "scipy", "sklearn", "matplotlib", "faiss"}


def loaded_after(code: str, told: bytes = b"") -> set[str]:
    """Top-level modules in a fresh interpreter once it has run `code`, with `told` on its stdin."""
    found = "{name.partition('.')[0] for name, module in sys.modules.items() if module}"
    code = f"import atexit, sys\natexit.register(lambda: print('LOADED', *{found}))\n{code}"
    done = subprocess.run([sys.executable, "-c", code], input=told, stdout=subprocess.PIPE, check=True, cwd=ROOT)
    return set(done.stdout.decode().rpartition("LOADED ")[2].split())


def command(*arguments: str) -> str:
    return f"from jobs.cli import main\nmain({list(arguments)!r})"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("imports")
    (folder / "images").mkdir()
    write_photographs(folder / "images")
    return folder


@pytest.fixture(scope="module")
def base(folder: Path) -> dict[str, object]:
    source, table = {"uri": str(folder / "images")}, str(folder / "lake" / "photos")
    return {"source": source, "table": table, "model": {"name": "null"}, "cluster": {"executor": "local"}}


@pytest.fixture(scope="module")
def table(base: dict[str, object]) -> str:
    assert run(load(base=base)).status == "complete"
    return str(base["table"])


def test_help_loads_nothing_heavy() -> None:
    assert not loaded_after(command("--help")) & {*MODELS, *ENGINES, *OTHERS, "numpy", "PIL", "pydantic"}


@pytest.mark.parametrize("how", [["--dry-run"], ["--set=cluster.executor=local"]])
def test_embedding_local_files_in_this_process_loads_no_model_no_ray_and_nothing_of_the_web(
    folder: Path, how: list[str]
) -> None:
    loaded = loaded_after(command("embed", str(folder / "images"), str(folder / "t"), "--model", "null", *how))
    assert "pyarrow" in loaded
    assert not loaded & {*MODELS, *OTHERS, "ray", "lancedb", "aiohttp"}


def test_pandas_is_there_for_whoever_asks_for_it_once_it_is_left_out() -> None:
    """As Ray does, in the process that has planned an embed job."""
    code = "from jobs.commands.without_pandas import leave_out_pandas\nleave_out_pandas()\nimport pyarrow as pa\n"
    code += "assert 'pandas' not in sys.modules\nrows = pa.table({'a': [1, None], 'b': ['x', 'y']})\n"
    code += "frame = rows.to_pandas()\nassert pa.Table.from_pandas(frame).column_names == ['a', 'b']\n"
    code += "assert pa.array(frame['a']).null_count == 1\n"
    assert "pandas" in loaded_after(code)


@pytest.mark.parametrize("verb", ["describe", "failures"])
def test_reading_a_table_loads_neither_decoders_nor_models_nor_ray(verb: str, table: str) -> None:
    loaded = loaded_after(command(verb, table))
    assert "lance" in loaded
    assert not loaded & {*MODELS, *OTHERS, "ray", "lancedb", "PIL", "aiohttp"}


def test_a_decode_process_resizes_without_importing_torch() -> None:
    """It loads the library with the kernel, and of ours only what decodes."""
    code = "from operators.decoding.child import main\nfrom operators.pixels.libtorch import resample\n"
    code += "import numpy\nresample(numpy.zeros((8, 8, 3), numpy.uint8), 4, 4, 'bicubic')"
    assert not loaded_after(code) & {*MODELS, *ENGINES, *OTHERS}


def test_a_worker_of_all_stages_loads_neither_lance_nor_what_its_model_does_not_need(
    base: dict[str, object], tmp_path: Path
) -> None:
    """As an actor of Ray is given them."""
    config = load(base=base | {"table": str(tmp_path / "t")})
    stages = cloudpickle.dumps(prepare(config, config.source, str(tmp_path / "work")).pipeline.stages)
    assert len(pickle.loads(stages)) == 1
    code = "import pickle\nstages = pickle.load(sys.stdin.buffer)\n"
    code += "from pipelines.run.worker import StageWorker\n[StageWorker(stage).close() for stage in stages]"
    loaded = loaded_after(code, stages)
    assert "pyarrow" in loaded
    assert not loaded & {*MODELS, *OTHERS, "ray", "lance", "lancedb"}
