"""The machine, the libraries and the commit that figures belong to."""

import os
import platform
import subprocess
import sys
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
INSTRUCTIONS = ("avx2", "avx512f", "avx512_vnni", "avx_vnni", "avx512_bf16", "amx_int8", "amx_bf16", "asimd")
"""What decides which precision is fast."""
LIBRARIES = ("ray", "torch", "torchvision", "open_clip_torch", "timm", "openvino", "onnxruntime", "lancedb", "pylance")
OTHERS = ("pyarrow", "numpy", "pillow", "simplejpeg", "obstore")


def machine() -> dict[str, Any]:
    said = _said_of_the_cpu()
    flags = set(said.get("flags", said.get("Features", "")).split())
    return {
        "cpu": said.get("model name") or platform.machine(),
        "instructions": [name for name in INSTRUCTIONS if name in flags],
        "cores": len(os.sched_getaffinity(0)),
        "memory_bytes": os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"),
        "python": platform.python_version(),
        "libraries": {name: found for name in (*LIBRARIES, *OTHERS) if (found := _version(name))},
        "bytecode": not sys.dont_write_bytecode,
        "load": os.getloadavg()[0],
        "commit": _commit(),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def _said_of_the_cpu() -> dict[str, str]:
    """The first core's lines of /proc/cpuinfo."""
    lines = Path("/proc/cpuinfo").read_text().partition("\n\n")[0].splitlines()
    return {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in lines)}


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _commit() -> str | None:
    """`None` where the sources are no checkout; a `+` where they differ from the commit."""
    asked = [["git", "rev-parse", "--short", "HEAD"], ["git", "status", "--porcelain", "--untracked-files=no"]]
    try:
        done = [subprocess.run(each, cwd=ROOT, capture_output=True, text=True, check=True).stdout for each in asked]
    except (OSError, subprocess.CalledProcessError):
        return None
    return done[0].strip() + ("+" if done[1].strip() else "")
