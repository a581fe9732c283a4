"""What is said of a process that had no say in its end."""

import signal

import pytest

from jobs.session.sudden_end import sudden_end

GCS = "[2026 E 1] rpc_client.h:204: Failed to connect to GCS within 60 seconds. GCS may have been killed. It is"


@pytest.mark.parametrize(
    ("status", "native", "on_ray", "outcome", "says"),
    [
        (1, "", True, "interrupted", "Ray has ended the run: its head (GCS) or this node's raylet is gone. What is"),
        (1, f"other\n{GCS}\n", True, "interrupted", "is gone (Failed to connect to GCS within 60 seconds). What"),
        (1, GCS, False, "failed", "a library ended the process with exit code 1"),
        (-signal.SIGKILL, "", True, "interrupted", "killed (SIGKILL): by the kernel where memory ran out"),
        (-signal.SIGTERM, "", False, "interrupted", "ended by SIGTERM"),
        (-signal.SIGSEGV, "", False, "failed", "crashed the process (SIGSEGV)"),
    ],
)
def test_every_end_has_its_sentence_and_says_how_to_go_on(
    status: int, native: str, on_ray: bool, outcome: str, says: str
) -> None:
    end = sudden_end(status, native, on_ray=on_ray)
    assert end.status == outcome
    assert says in end.message
    assert "same command again" in end.message
