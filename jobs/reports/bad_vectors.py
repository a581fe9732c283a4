"""When a run has met so many unusable vectors that the model, and not an image, is to blame."""

LEAST_BAD = 20
"""Bad vectors below which no share of them stops a run: in small data a few odd images are a large share."""


class BadVectorsError(RuntimeError):
    """More of a run's vectors are NaN, infinite or zero than may be; what is published stays."""


def check_bad_vectors(bad: int, good: int, max_bad_vectors: float, table: str) -> None:
    """Raises `BadVectorsError` for at least `LEAST_BAD` bad vectors, if they are a larger share of all than may be."""
    if bad < LEAST_BAD or bad <= max_bad_vectors * (bad + good):
        return
    raise BadVectorsError(
        f"{bad:,} of the {bad + good:,} vectors of this run were NaN, infinite or zero, and max_bad_vectors allows a "
        f"share of {max_bad_vectors:g}: the model, its weights or this machine may be broken. What is committed stays; "
        f"`pixlake failures {table} --class bad_vector` shows the rows. Try them with model.precision=float32 or other "
        "weights in another table; --set max_bad_vectors=1 goes on from there"
    )
