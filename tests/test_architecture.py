"""Which package may import which, read off the source; and what a driver or `--help` really loads."""

import ast
import resource
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("operators", "pipelines", "jobs")
MODULES = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))
TORCH = {"torch", "torchvision", "open_clip", "timm"}
TABLE_JOBS = {
    "jobs/config/open_table.py",
    "jobs/search.py",
    "jobs/describe.py",
    "jobs/failures.py",
    "jobs/demo.py",
    "jobs/index.py",
    "jobs/reports/doubted_indexes.py",
}
READS_BY_INDEX = {
    "pipelines/search/nearest.py",
    "pipelines/search/scan.py",
    "jobs/found_rows.py",
    "pipelines/filter_index/trial.py",
}
"""Where a filter may be answered by an index: what they give is looked at, or held against a scan."""


def imports(path: Path, *, top_only: bool = False) -> set[str]:
    """Dotted names of all modules that a file imports; `top_only` leaves out what functions import when called."""
    return set(_imports_in(ast.parse(path.read_text()), top_only))


def _imports_in(node: ast.AST, top_only: bool) -> Iterator[str]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import):
            yield from (alias.name for alias in child.names)
        elif isinstance(child, ast.ImportFrom):
            assert child.level == 0, "relative imports hide where a name comes from"
            yield child.module or ""
        elif not (top_only and isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef)) and not _for_types(child):
            yield from _imports_in(child, top_only)


def _for_types(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"


def roots(names: set[str]) -> set[str]:
    return {name.split(".")[0] for name in names}


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_packages_import_downwards_only(path: Path) -> None:
    above = PACKAGES[PACKAGES.index(path.relative_to(ROOT).parts[0]) + 1 :]
    assert not roots(imports(path)) & {*above, "tests", "benchmarks"}


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_ray_and_lance_stay_where_they_belong(path: Path) -> None:
    used, place = roots(imports(path)), name_of(path)
    if place.startswith("operators/"):
        assert not used & {"ray", "lance", "lancedb"}
    elif place.startswith("jobs/") and place not in TABLE_JOBS:
        assert not used & {"lance", "lancedb"}


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_torch_is_imported_at_the_top_only_where_planning_does_not_go(path: Path) -> None:
    place = name_of(path)
    may = place == "operators/pixels/resize.py" or (
        place.startswith("operators/models/") and not place.endswith("/spec.py")
    )
    assert may or not roots(imports(path, top_only=True)) & TORCH


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_what_decides_asks_no_index(path: Path) -> None:
    """`plain_scan` and `plain_count` are the way to filter: `count_rows(filter)` goes through an index too."""
    asks = [call.lineno for call in ast.walk(ast.parse(path.read_text())) if isinstance(call, ast.Call) and _asks(call)]
    assert not asks or name_of(path) in READS_BY_INDEX, asks


def _asks(call: ast.Call) -> bool:
    """Whether this is a read of a Lance table whose filter an index may answer."""
    if not isinstance(call.func, ast.Attribute):
        return False
    given = {keyword.arg: ast.unparse(keyword.value) for keyword in call.keywords}
    filtered = "filter" in given or (call.func.attr == "count_rows" and bool(call.args))
    reads = call.func.attr in ("scanner", "to_table", "to_batches", "count_rows")
    return reads and filtered and given.get("use_scalar_index") != "False"


def loaded_after(code: str) -> set[str]:
    """Top-level modules in a fresh interpreter once it has run `code`."""
    code += "\nimport sys; print('LOADED', *{name.partition('.')[0] for name in sys.modules})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    return set(done.stdout.rpartition("LOADED ")[2].split())


def test_help_loads_nothing_heavy() -> None:
    code = "import jobs.cli, contextlib\nwith contextlib.suppress(SystemExit): jobs.cli.main(['--help'])"
    assert not loaded_after(code) & {*TORCH, "ray", "lance", "lancedb", "pyarrow", "numpy", "obstore"}


def test_planning_an_embed_job_loads_no_torch(tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_text("a.jpg\n")
    code = (
        "from jobs.embed import load, plan\n"
        f"base = {{'source': {{'uri': {str(tmp_path / 'list.txt')!r}}}, 'table': {str(tmp_path / 't')!r}, "
        "'model': {'name': 'null'}}\n"
        "plan(load(base=base)).text()"
    )
    loaded = loaded_after(code)
    assert "pyarrow" in loaded
    assert not loaded & {*TORCH, "ray"}


def test_help_takes_less_than_half_a_second_of_a_core() -> None:
    """Of CPU time: by the clock it would count what else runs."""
    seconds = []
    for _ in range(5):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run([Path(sys.executable).with_name("pixlake"), "--help"], capture_output=True, check=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        seconds.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    assert min(seconds) < 0.5
