"""What a student is taught of one micro-batch of images, whose teacher's vectors are known.

Cosine: one minus the cosine to the teacher's vector of the same image. Relational: each image is to have the neighbours
within the micro-batch that it has by the teacher's vectors, as Fang et al. 2021, "SEED", teach it, and as Park et al.
2019, "Relational Knowledge Distillation", argue: what a vector means is where it stands among others. Hard examples:
images weigh by how far they are from their teacher now, as Lin et al. 2017, "Focal Loss for Dense Object Detection",
weigh them. Nested: Kusupati et al. 2022, "Matryoshka Representation Learning".
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pipelines.training.losses import like_full, nested

if TYPE_CHECKING:
    from torch import Tensor

TEMPERATURE = 0.05
"""Of the relational loss: what cosines are divided by before they become shares of a whole."""


@dataclass(frozen=True, kw_only=True)
class Lesson:
    """What the loss of a student is made of."""

    dims: tuple[int, ...]
    """Lengths that vectors are to be good at, the longest first, which is the student's own."""
    cosine: float
    """Weight of the cosine loss."""
    relational: float
    """Weight of the relational loss."""
    hard: float
    """Exponent of an image's error, by which it weighs in the cosine loss; 0: all weigh the same."""


def student_loss(outs_ND: "Tensor", targets_NK: "Tensor", lesson: Lesson) -> "Tensor":
    """The loss of a micro-batch, a scalar. `outs_ND` are the student's vectors of any length, D the longest of the
    lesson; `targets_NK` the teacher's, K at least D, of which a shorter length is taught the first numbers.

    The relational loss compares with the whole of the teacher's vectors, at every length.
    """
    from torch.nn.functional import normalize

    full_NK = normalize(targets_NK, dim=1)

    def of_length(units_NM: "Tensor", wanted_NM: "Tensor") -> "Tensor":
        total = units_NM.new_zeros(())
        if lesson.cosine:
            total = total + lesson.cosine * cosine_loss(units_NM, wanted_NM, lesson.hard)
        if lesson.relational and len(units_NM) > 1:
            total = total + lesson.relational * like_full(units_NM, full_NK, TEMPERATURE)
        return total

    return nested((outs_ND, targets_NK), lesson.dims, of_length)


def cosine_loss(units_ND: "Tensor", wanted_ND: "Tensor", hard: float) -> "Tensor":
    """The mean of one minus the cosine of rows of unit length, each weighed by its own to the power of `hard`. The
    weights are taken as given: no gradient goes through them, and they are 1 on average."""
    errors_N = 1 - (units_ND * wanted_ND).sum(dim=1)
    if not hard:
        return errors_N.mean()
    weights_N = errors_N.detach().clamp(min=0) ** hard
    return (errors_N * weights_N).sum() / weights_N.sum().clamp(min=1e-12)


def mean_cosines(outs_ND: "Tensor", targets_NK: "Tensor", dims: Sequence[int]) -> list[float]:
    """Length -> the mean cosine of the first numbers of both."""
    from torch.nn.functional import cosine_similarity

    return [float(cosine_similarity(outs_ND[:, :dim], targets_NK[:, :dim], dim=1).mean()) for dim in dims]
