"""What is left out, with the reason: nothing, once all of issue 10 is mended."""

SWITCHED_OFF: dict[str, str] = {}
"""Operation, or part of one, by name."""
