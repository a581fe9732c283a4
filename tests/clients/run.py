"""`make clients`: every client of docs/clients.md in an environment of its own runs the page's lines; NumPy judges.

    make clients [CLIENTS="BEGINNING-OF-A-NAME…"]

Environments are made by uv and npm in a temporary folder, one after another, and deleted. A line a client goes to
stdout, which is the page's outcome; what a client that failed has said goes to stderr. Exit code 1 where one failed.
"""

import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from datetime import date
from pathlib import Path
from types import MappingProxyType

from clients.clients_page import PAGE, Client, clients
from clients.made_exports import Expected, make

TIMEOUT_S = 1800
_QUIET = {"DO_NOT_TRACK": "1", "RAY_USAGE_STATS_ENABLED": "0", "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
_PYTHON = """import numpy as np
query = np.load("query.npy")
{code}
import json as _json
_found = {{"ids": [str(each) for each in globals().get("ids", [])], "rows": globals().get("rows")}}
print("\\n" + _json.dumps(_found, default=int), flush=True)
"""
_NODE = """import {{ readFileSync }} from "node:fs";
const query = JSON.parse(readFileSync("query.json"));
{code}
console.log("\\n" + JSON.stringify({{ ids, rows }}));
"""


class Failed(Exception):
    """One line of what went wrong, and all that was said."""

    def __init__(self, line: str, said: str = "") -> None:
        super().__init__(line)
        self.said = said


def run_client(client: Client, folder: Path, expected: Expected) -> str:
    """What its answer holds. Raises `Failed`."""
    with tempfile.TemporaryDirectory(prefix="pixlake-client-") as environment:
        _install(client, Path(environment))
        said = ""
        for language, code in client.blocks:
            said = _run_block(language, code, Path(environment), folder)
        return judge(json.loads(said.rstrip().rpartition("\n")[2]), expected)


def _install(client: Client, environment: Path) -> None:
    if client.installer == "npm":
        _call(["npm", "install", "--silent", "--no-audit", "--no-fund", *client.requirements], environment)
        return
    uv = str(Path(sys.executable).with_name("uv"))
    _call([uv, "venv", "--quiet", "--python", sys.executable, f"{environment}/env"], environment)
    python = f"{environment}/env/bin/python"
    _call([uv, "pip", "install", "--quiet", "--python", python, *client.requirements], environment)


def _run_block(language: str, code: str, environment: Path, folder: Path) -> str:
    """Standard output."""
    tools = f"{environment}/env/bin"
    # What a client keeps for next time goes with its environment.
    own = {"PATH": f"{tools}:{os.environ['PATH']}", "XDG_CACHE_HOME": f"{environment}/cache"}
    if language == "python":
        script = environment / "block.py"
        script.write_text(_PYTHON.format(code=code))
        return _call(["python", str(script)], folder, own)
    if language == "js":
        # Node looks for modules beside the script.
        script = environment / "block.mjs"
        script.write_text(_NODE.format(code=code))
        return _call(["node", str(script)], folder, own)
    return _call(["bash", "-e", "-c", code], folder, own)


def _call(command: Sequence[str], folder: Path, more: Mapping[str, str] = MappingProxyType({})) -> str:
    """Standard output. Raises `Failed`."""
    variables = {key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "VIRTUAL_ENV")}
    variables |= {**_QUIET, **more}
    try:
        ended = subprocess.run(command, cwd=folder, env=variables, capture_output=True, text=True, timeout=TIMEOUT_S)
    except subprocess.TimeoutExpired:
        raise Failed(f"{Path(command[0]).name}: not done after {TIMEOUT_S} s") from None
    if ended.returncode:
        lines = ended.stderr.strip().splitlines() or ["nothing said"]
        raise Failed(f"{Path(command[0]).name}: {lines[-1]}", ended.stderr)
    return ended.stdout


def judge(found: dict[str, object], expected: Expected) -> str:
    """What is right about an answer. Raises `Failed`."""
    ids, rows = found.get("ids"), found.get("rows")
    if not ids and rows is None:
        raise Failed("leaves neither ids nor rows")
    if ids and ids != expected.ids:
        raise Failed(f"ids {ids}, and NumPy finds {expected.ids}")
    if rows is not None and rows != expected.rows:
        raise Failed(f"{rows} rows of {expected.rows}")
    answers = [f"nearest {len(expected.ids)}"] if ids else []
    return ", ".join(answers + ([f"{rows} rows"] if rows is not None else []))


def main(beginnings: Sequence[str]) -> int:
    chosen = [
        client
        for client in clients(PAGE.read_text())
        if not beginnings or any(client.name.lower().startswith(each.lower()) for each in beginnings)
    ]
    failed = 0
    with tempfile.TemporaryDirectory(prefix="pixlake-clients-") as folder:
        expected = make(Path(folder))
        print(f"{date.today()}, Python {platform.python_version()}, {platform.system()} {platform.machine()}")
        for client in chosen:
            began = time.monotonic()
            try:
                outcome = f"ok      {run_client(client, Path(folder), expected)}"
            except Failed as error:
                failed += 1
                outcome = f"failed  {error}"
                print(error.said, file=sys.stderr)
            print(f"{client.name:<24}{client.version:<9}{outcome}, {time.monotonic() - began:.0f} s", flush=True)
    return 1 if failed or not chosen else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
