"""Which room may import which, read off the source; and what a driver or `--help` really loads."""

import ast
import resource
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("operators", "pipelines", "jobs")
MODULES = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))
TORCH = {"torch", "torchvision", "open_clip", "timm"}

ROOMS = {
    # What the operators are made of, and on top the operators themselves, one verb a file.
    "operators/base": "",
    "operators/storage": "base",
    # Parent and children: what colours mean, and what headers say, lies below the decoding.
    "operators/pixels": "base pixels/colour pixels/headers pixels/jpeg pixels/png",
    "operators/pixels/colour": "",
    "operators/pixels/headers": "base pixels/colour",
    "operators/pixels/jpeg": "base",
    "operators/pixels/png": "base pixels/colour",
    "operators/pixels/tiff": "base",
    "operators/fetching": "base storage",
    "operators/regions": "base pixels",
    "operators/vectors": "base storage",
    "operators/decoding": "base pixels regions",
    # Parent and child: the specification lies below the detectors, what resolves either above them.
    "operators/models": "base storage pixels models/detectors models/backends models/weights",
    "operators/models/weights": "base storage models",
    "operators/models/towers": "base storage pixels models models/weights",
    "operators/models/detectors": "base storage regions models models/weights",
    "operators/models/backends": "base pixels models models/weights models/towers",
    "operators/models/timm": "base storage pixels models models/weights models/towers",
    "operators/models/open_clip": "base storage pixels models models/weights models/towers models/timm",
    # Models of one's own: which library builds the network is asked of `models/families`.
    "operators/models/saved": "base storage pixels models models/weights models/towers",
    # Parts of a network told apart, and made ready to be trained.
    "operators/models/tuning": "base models models/saved",
    "operators/api": "base storage pixels fetching models",
    "operators": "base storage pixels fetching regions vectors decoding models models/detectors api models/backends",
    # The ground: what a vector means, which are near, how rows are read, what a table is and holds of which manifest.
    "pipelines/space": "",
    "pipelines/neighbours": "space",
    "pipelines/scan": "",
    "pipelines/table": "space scan",
    "pipelines/ledger": "scan table",
    # Small pictures of images, of whatever side they are.
    "pipelines/pictures": "",
    # The image side: from URIs to committed rows.
    # Parent and child: what tars hold is said in the terms of a manifest, and opened with all other sources.
    # The same for the columns of manifests: which they are, their types, their ids.
    "pipelines/manifests": "manifests/tars manifests/columns manifests/lines manifests/listings manifests/vectors",
    "pipelines/manifests/columns": "manifests",
    "pipelines/manifests/lines": "manifests manifests/columns",
    "pipelines/manifests/listings": "manifests manifests/columns manifests/tars",
    "pipelines/manifests/tars": "manifests manifests/columns manifests/lines",
    "pipelines/manifests/vectors": "export manifests manifests/columns",
    "pipelines/sources": "ledger table manifests manifests/columns manifests/vectors export",
    "pipelines/carry": "scan table",
    "pipelines/commits": "space scan table ledger carry",
    "pipelines/run": "sources commits run/on_ray",
    "pipelines/run/on_ray": "sources commits run",
    "pipelines/embedding": "space table manifests manifests/vectors sources commits run",
    # Decoded images on local disk, to train on.
    "pipelines/training_images": "manifests run sources",
    "pipelines/balance": "table commits manifests sources run embedding",
    # What a table's rows were made of, read again where it lies.
    "pipelines/reread": "table ledger manifests manifests/vectors sources",
    # A second reader of what the commits have written: it shares no code with them.
    "pipelines/audit": "space scan table ledger sources reread",
    "pipelines/refresh": "carry manifests commits table refresh/changes",
    "pipelines/refresh/changes": (
        "space scan table ledger commits manifests manifests/listings manifests/tars manifests/vectors sources"
    ),
    # The table side: from rows to a useful table.
    "pipelines/derivation": "space scan table",
    "pipelines/export": "space scan table",
    "pipelines/duplicates/pairs": "space scan table export",
    "pipelines/duplicates": "space scan table duplicates/pairs",
    "pipelines/index": "space neighbours table",
    "pipelines/filter_index": "space scan table index",
    "pipelines/rewrite": "scan table ledger index filter_index",
    "pipelines/swap": "space scan table derivation index ledger",
    "pipelines/versions": "space scan table index filter_index",
    "pipelines/search": "space neighbours scan table ledger filter_index embedding",
    "pipelines/evaluation": "scan space neighbours table index search",
    "pipelines/drift": "space scan table search",
    "pipelines/clusters": "space scan evaluation",
    # Models judged by their vectors of the same images.
    "pipelines/judging": "gate",
    "pipelines/overview": "space scan table",
    "pipelines/classification": "space scan evaluation",
    # The loop by which anything is trained: it knows no table and no image.
    "pipelines/steps": "",
    # What a training takes, of whatever is trained.
    "pipelines/training_cost": "",
    # Heads on vectors that are there.
    "pipelines/training": "space scan table evaluation judging classification steps",
    # Models trained further on images.
    "pipelines/tuning": "judging classification steps training",
    # Networks that learn what another has left in a table.
    "pipelines/distillation": "space scan judging steps training training_cost",
    "pipelines/gate": "space neighbours scan table pictures derivation index search evaluation",
    # What a person starts: one verb a file, on what its arguments, its run and its report are made of.
    "jobs/reports": "",
    # Pages for a browser, whatever is on them.
    "jobs/reports/page": "",
    "jobs/config": "",
    "jobs/session": "reports",
    "jobs/embedding": "config reports session",
    "jobs/querying": "reports session",
    "jobs/finding": "reports querying",
    "jobs/swapping": "config reports session embedding querying",
    "jobs/drifting": "reports",
    "jobs/labelling": "session",
    "jobs/steps": "session",
    "jobs/training": "config session",
    "jobs/distilling": "config reports session steps training",
    "jobs/tuning": "config session steps",
    "jobs/looking": ". config reports reports/page swapping labelling nights",
    "jobs/refreshing": ". config reports session embedding",
    "jobs/auditing": ". config reports session embedding refreshing",
    "jobs/nights": ". config reports session swapping",
    "jobs/web": ". querying reports",
    "jobs/benchmarking": "config reports reports/page embedding planning",
    "jobs/planning": "session",
    "jobs": "config reports session embedding querying swapping drifting refreshing auditing nights finding "
    "labelling looking web benchmarking planning training steps distilling tuning",
    "jobs/commands": ". config reports querying labelling training distilling tuning",
    "jobs/cli": "commands session",
}
"""Room -> the rooms of its package that it may import, by their names there; `.` is the floor of verbs itself. Packages
import downwards. Lazy imports count, and those for types."""

IMAGE_SIDE = {
    *("manifests", "manifests/columns", "manifests/lines", "manifests/listings", "manifests/tars", "manifests/vectors"),
    *(
        "sources",
        "commits",
        "run",
        "run/on_ray",
        "embedding",
        "balance",
        "reread",
        "audit",
        "refresh",
        "refresh/changes",
    ),
    "training_images",
}
TABLE_SIDE = {
    *("derivation", "export", "index", "filter_index", "rewrite", "swap", "search", "evaluation"),
    *(
        "versions",
        "gate",
        "drift",
        "judging",
        "duplicates",
        "duplicates/pairs",
        "clusters",
        "classification",
        "training",
        "distillation",
        "tuning",
        "overview",
    ),
}
DOORS = {
    # A query goes through the very operators that made the rows.
    ("pipelines/search", "pipelines/embedding/chain.py"),
    # What we export we take back, bit for bit.
    ("pipelines/manifests/vectors", "pipelines/export/npy.py"),
    ("pipelines/manifests/vectors", "pipelines/export/record.py"),
    ("pipelines/sources", "pipelines/export/npy.py"),
}
"""Between the two sides: who imports what of the other one."""

WHERE_IT_RUNS = {f"pipelines/run/{name}.py" for name in ("cluster", "resources", "stage")}
IMAGE_SIDE_OF = {
    "models": set(),
    **dict.fromkeys(
        (
            "failures",
            "describe",
            "evaluate",
            "index",
            "reduce",
            "cluster",
            "fit_pca",
            "train_head",
            "export",
            "duplicates",
            "rewrite",
            "upkeep",
            "diff",
            "drift",
            "tag",
        ),
        WHERE_IT_RUNS,
    ),
    "delete": WHERE_IT_RUNS
    | {f"pipelines/commits/{name}.py" for name in ("committer", "receipts", "sink", "superseded", "waves")},
    "classify": WHERE_IT_RUNS | {f"pipelines/embedding/{name}.py" for name in ("chain", "columns")},
    "search": WHERE_IT_RUNS | {f"pipelines/embedding/{name}.py" for name in ("chain", "columns")},
}
"""Verb -> all that it loads of the image side, at whatever depth."""

MOST_FILES = 12
READS_BY_INDEX = {
    "pipelines/search/nearest.py",
    "pipelines/search/scan.py",
    "pipelines/search/rows.py",
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


def room_of(place: str) -> str:
    """The folder of a file; of the top of `jobs`, `jobs/cli` stands by itself above the verbs."""
    folder = place.rpartition("/")[0]
    return "jobs/cli" if place in ("jobs/cli.py", "jobs/__main__.py") else folder


def may_import(room: str) -> set[str]:
    package = room.split("/")[0]
    return {room} | {package if name == "." else f"{package}/{name}" for name in ROOMS[room].split()}


@cache
def imported(place: str) -> frozenset[str]:
    """Files of ours that a file imports, at the top or when called."""
    found = set()
    for node in ast.walk(ast.parse((ROOT / place).read_text())):
        if isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
    return frozenset(name for name in map(file_of, found) if name)


def file_of(module: str) -> str | None:
    place = f"{module.replace('.', '/')}.py"
    return place if module.split(".")[0] in PACKAGES and (ROOT / place).is_file() else None


def loaded_by(place: str) -> set[str]:
    """All files of ours behind a file."""
    seen: set[str] = set()
    waiting = [place]
    while waiting:
        each = waiting.pop()
        if each not in seen:
            seen.add(each)
            waiting += imported(each)
    return seen


PLACES = [place for place in map(name_of, MODULES) if not place.endswith("/__init__.py")]


def test_every_room_says_what_it_may_import() -> None:
    assert {room_of(place) for place in PLACES} <= {*ROOMS}


# One test each for all modules: a test a module took 7 s of each process of `make test`, to be collected alone.
def test_a_room_imports_only_the_rooms_below_it() -> None:
    beside = {
        (place, each)
        for place in PLACES
        for each in imported(place)
        if each.split("/")[0] == place.split("/")[0] and room_of(each) not in may_import(room_of(place))
    }
    assert beside == set()
    above = {
        (place, each)
        for place in PLACES
        for each in roots(imports(ROOT / place))
        if each in {*PACKAGES[PACKAGES.index(place.split("/")[0]) + 1 :], "tests", "benchmarks"}
    }
    assert above == set()


def test_the_law_names_no_arrow_that_nobody_needs() -> None:
    taken = {(room_of(place), room_of(each)) for place in PLACES for each in imported(place)}
    allowed = {(room, each) for room in ROOMS for each in may_import(room) - {room}}
    assert allowed - taken == set()


def test_no_import_goes_round_in_a_circle() -> None:
    """Not even a lazy one, or one for types."""
    for place in PLACES:
        assert not any(place in loaded_by(each) for each in imported(place)), place


def test_two_doors_lead_from_one_side_to_the_other() -> None:
    sides = (IMAGE_SIDE, TABLE_SIDE)
    through = {
        (room_of(place), each)
        for place in PLACES
        if place.startswith("pipelines/")
        for each in imported(place)
        for one, other in (sides, sides[::-1])
        if room_of(place).partition("/")[2] in one and room_of(each).partition("/")[2] in other
    }
    assert through == DOORS
    assert {room.partition("/")[2] for room in ROOMS if room.startswith("pipelines/")} - IMAGE_SIDE - TABLE_SIDE == {
        *("space", "neighbours", "scan", "table", "ledger", "carry", "steps", "pictures", "training_cost")
    }


@pytest.mark.parametrize("verb", IMAGE_SIDE_OF)
def test_a_verb_of_the_table_side_loads_nothing_of_the_image_side_but(verb: str) -> None:
    loaded = loaded_by(f"jobs/{verb}.py")
    image_side = {each for each in loaded if each.startswith("pipelines/") and each.split("/")[1] in IMAGE_SIDE}
    assert image_side == IMAGE_SIDE_OF[verb]


def test_a_name_means_one_thing() -> None:
    """Classes and aliases of types, those of one file alone included."""
    places: dict[str, list[str]] = {}
    for place in PLACES:
        for node in ast.parse((ROOT / place).read_text()).body:
            for name in {node.name} if isinstance(node, ast.ClassDef) else _aliases(node):
                places.setdefault(name.lstrip("_"), []).append(place)
    assert {name: found for name, found in places.items() if len(found) > 1} == {}


def _aliases(node: ast.stmt) -> set[str]:
    """Names in CapWords that a statement assigns; one letter is a type variable."""
    targets = node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else []
    names = {each.id for each in targets if isinstance(each, ast.Name)}
    return {name for name in names if len(name) > 1 and name.lstrip("_")[:1].isupper() and not name.isupper()}


def test_a_room_is_seen_at_a_glance() -> None:
    """But for the floors of verbs: `operators/`, `jobs/`, and `jobs/commands/` with the arguments of each."""
    verbs = {place.rpartition("/")[2] for place in PLACES if room_of(place) == "jobs"}
    for room in {*ROOMS} - {"operators"}:
        files = {place.rpartition("/")[2] for place in PLACES if room_of(place) == room}
        assert len(files - verbs) <= MOST_FILES, room


def test_ray_and_lance_stay_where_they_belong() -> None:
    for path in MODULES:
        used, place = roots(imports(path)), name_of(path)
        if place.startswith("operators/"):
            assert not used & {"ray", "lance", "lancedb"}, place
        elif place.startswith("jobs/") and place != "jobs/demo.py":
            assert not used & {"lance", "lancedb"}, place


def test_torch_is_imported_at_the_top_only_where_planning_does_not_go() -> None:
    for path in MODULES:
        place = name_of(path)
        may = place.startswith("operators/models/") and not place.endswith("/spec.py")
        assert may or not roots(imports(path, top_only=True)) & TORCH, place


def test_what_decides_asks_no_index() -> None:
    """`plain_scan` and `plain_count` are the way to filter: `count_rows(filter)` goes through an index too."""
    asks = {
        (name_of(path), call.lineno)
        for path in MODULES
        for call in ast.walk(ast.parse(path.read_text()))
        if isinstance(call, ast.Call) and _asks(call) and name_of(path) not in READS_BY_INDEX
    }
    assert asks == set()


def _asks(call: ast.Call) -> bool:
    """Whether this is a read of a Lance table whose filter an index may answer."""
    if not isinstance(call.func, ast.Attribute):
        return False
    given = {keyword.arg: ast.unparse(keyword.value) for keyword in call.keywords}
    filtered = "filter" in given or (call.func.attr == "count_rows" and bool(call.args))
    reads = call.func.attr in ("scanner", "to_table", "to_batches", "count_rows")
    return reads and filtered and given.get("use_scalar_index") != "False"


def test_help_takes_less_than_half_a_second_of_a_core() -> None:
    """Of CPU time: by the clock it would count what else runs."""
    seconds = []
    for _ in range(5):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run([Path(sys.executable).with_name("pixlake"), "--help"], capture_output=True, check=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        seconds.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    assert min(seconds) < 0.5
