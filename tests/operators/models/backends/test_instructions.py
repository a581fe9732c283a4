"""Precisions that a CPU has instructions for, and the refusal of those that it would emulate."""

import pytest

from operators.models.backends import instructions
from operators.models.backends.instructions import check_native, cpu, flags, is_native
from operators.models.spec import ModelError, Precision

OLD = "model name\t: AMD EPYC 7B13\nflags\t\t: fpu avx2 fma sse4_2"
SAPPHIRE = "model name\t: Xeon\nflags\t\t: fpu avx2 avx512f avx512_bf16 amx_bf16 avx512_fp16"
ZEN4 = "flags\t\t: avx2 avx512f avx512_bf16"
GRAVITON = "Features\t: fp asimd fphp asimdhp bf16\nCPU part\t: 0xd40"


@pytest.mark.parametrize(
    ("about", "precision", "native"),
    [
        (OLD, "float32", True),
        (OLD, "bfloat16", False),
        (OLD, "float16", False),
        (ZEN4, "bfloat16", True),
        (ZEN4, "float16", False),
        (SAPPHIRE, "float16", True),
        (GRAVITON, "bfloat16", True),
        ("", "bfloat16", False),
    ],
)
def test_instructions_are_read_off_the_flags(about: str, precision: Precision, native: bool) -> None:
    assert is_native(precision, about) is native


def test_this_cpu_tells_of_itself() -> None:
    assert flags(cpu())


def test_a_precision_that_would_be_emulated_is_refused_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(instructions, "cpu", lambda: OLD)
    with pytest.raises(ModelError, match=r"'some'.*no instructions for bfloat16 .*model.precision out.*emulate=true"):
        check_native("some", "bfloat16", "cpu")
    check_native("some", "float32", "cpu")
    check_native("some", "bfloat16", "cuda")
