"""What fits into the memory of this machine, said before anything is read."""

from operators.base.errors import UserError
from operators.base.memory_limit import available_memory


def check_memory(needed: int, what: str, instead: str) -> None:
    """Raises `UserError` where `needed` bytes are more than this process can have."""
    free = available_memory()
    if free is not None and needed > free:
        raise UserError(
            f"{what} take {needed / 2**30:.1f} GiB of memory, and {free / 2**30:.1f} GiB are free on this machine: "
            f"{instead}"
        )
