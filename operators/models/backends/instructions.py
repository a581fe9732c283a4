"""What this machine's CPU is, and which precisions it computes by instructions of its own."""

import contextlib
import platform
from functools import cache
from pathlib import Path

from operators.models.spec import ModelError, Precision

_INSTRUCTIONS = {
    "bfloat16": {"avx512_bf16", "amx_bf16", "bf16"},
    "float16": {"avx512_fp16", "amx_fp16", "asimdhp"},
}
"""Precision -> flags of /proc/cpuinfo, x86's and Arm's, one of which a CPU needs for it."""


def cpu() -> str:
    """The CPU by its name and instructions, on which the last digits of vectors depend."""
    with contextlib.suppress(OSError):
        lines = Path("/proc/cpuinfo").read_text().partition("\n\n")[0].splitlines()
        return "\n".join(line for line in lines if line.startswith(("model name", "flags", "Features", "CPU part")))
    return platform.processor()


@cache
def flags(about: str) -> frozenset[str]:
    """The instructions in what `cpu` gives."""
    told = [line.partition(":")[2] for line in about.splitlines() if line.startswith(("flags", "Features"))]
    return frozenset(" ".join(told).split())


def is_native(precision: Precision, about: str) -> bool:
    """Whether a CPU, as `cpu` tells of it, computes in this precision rather than emulating it."""
    return precision == "float32" or bool(_INSTRUCTIONS[precision] & flags(about))


def check_native(name: str, precision: Precision, device: str) -> None:
    """Raises `ModelError` where this machine's CPU would emulate the precision of the model `name`."""
    if device == "cpu" and not is_native(precision, cpu()):
        need = {"bfloat16": "AVX-512 BF16 or AMX", "float16": "AVX-512 FP16"}[precision]
        raise ModelError(
            f"model {name!r}: the CPU of {platform.node()} has no instructions for {precision} ({need}) and emulates "
            "it, which was measured at 1.0 images a second of a ViT-B/32 where float32 gave 5.6. Leave model.precision "
            "out (float32), or embed on hardware that has it; --set model.emulate=true emulates it all the same"
        )
