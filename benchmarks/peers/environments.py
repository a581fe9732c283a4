"""What peers need beside their script, made once and kept in the user's cache: an environment, a weights file."""

import hashlib
import os
import subprocess
import sys
from pathlib import Path

from benchmarks.turns import FailedProcess

DAFT, DUPLICATES = (Path(__file__).with_name(f"{name}.txt") for name in ("daft", "duplicates"))
_UV = str(Path(sys.executable).with_name("uv"))


def cache() -> Path:
    folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "pixlake-bench"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def environment(requirements: Path) -> Path:
    """The Python of an environment with these libraries, its bytecode compiled. Raises `FailedProcess`."""
    about = f"{sys.version} {requirements.read_text()}"
    folder = cache() / f"{requirements.stem}-{hashlib.sha256(about.encode()).hexdigest()[:12]}"
    python = folder / "bin" / "python"
    if not (folder / "installed").exists():
        _call([_UV, "venv", "--quiet", "--clear", "--python", sys.executable, str(folder)])
        install = [_UV, "pip", "install", "--quiet", "--compile-bytecode", "--python", str(python)]
        _call([*install, "-r", str(requirements)])
        (folder / "installed").touch()
    return python


def weights_file() -> Path:
    """ViT-B/32 with the random weights of seed 0, as safetensors: every system reads this file."""
    path = cache() / "vit-b-32-random-0.safetensors"
    if not path.exists():
        _call([sys.executable, str(Path(__file__).with_name("write_weights.py")), str(path)])
    return path


def _call(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise FailedProcess(f"{' '.join(command[:3])}: {done.stderr.strip()[-1000:]}")
