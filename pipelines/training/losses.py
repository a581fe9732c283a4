"""What a head is trained for: the loss of one batch, nested over several lengths.

Nested: Kusupati et al. 2022, "Matryoshka Representation Learning": the loss of the first d numbers, at unit length, as
the mean over the lengths d. Labels and pairs: the supervised contrastive loss of Khosla et al. 2020 (equation 2,
"out"). Captions: both directions of the contrastive loss of Radford et al. 2021. Self: the neighbours' distribution of
the full vectors, by Kullback-Leibler divergence, as in Fang et al. 2021, "SEED".
"""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

_NEVER = -1e9
"""A logit of nobody: finite, so that its product with 0 is 0."""


def nested(outs_NK: Sequence["Tensor"], dims: Sequence[int], loss_of: Callable[..., "Tensor"]) -> "Tensor":
    """The mean over the lengths of the loss of the first numbers, at unit length, of each of `outs_NK`: all lengths
    weigh the same."""
    from torch.nn.functional import normalize

    total = outs_NK[0].new_zeros(())
    for dim in dims:
        total = total + loss_of(*(normalize(each[:, :dim], dim=1) for each in outs_NK))
    return total / len(dims)


def contrastive(units_ND: "Tensor", labels_N: "Tensor", temperature: float) -> "Tensor":
    """Each row is to be nearer to those of its label than to all others; one without any is passed by."""
    import torch

    own = torch.eye(len(units_ND), dtype=torch.bool, device=units_ND.device)
    log_shares = torch.log_softmax((units_ND @ units_ND.T / temperature).masked_fill(own, _NEVER), dim=1)
    same = (labels_N[:, None] == labels_N[None]) & ~own
    counts = same.sum(dim=1)
    of_rows = -(log_shares * same).sum(dim=1) / counts.clamp(min=1)
    return (of_rows * (counts > 0)).sum() / (counts > 0).sum().clamp(min=1)


def like_full(units_ND: "Tensor", full_NE: "Tensor", temperature: float) -> "Tensor":
    """Each row is to have the neighbours, in the batch, that its full unit vector has."""
    import torch

    own = torch.eye(len(units_ND), dtype=torch.bool, device=units_ND.device)
    wanted = torch.log_softmax((full_NE @ full_NE.T / temperature).masked_fill(own, _NEVER), dim=1)
    found = torch.log_softmax((units_ND @ units_ND.T / temperature).masked_fill(own, _NEVER), dim=1)
    return (wanted.exp() * (wanted - found)).sum(dim=1).mean()


def captioned(images_ND: "Tensor", texts_ND: "Tensor", groups_N: "Tensor", temperature: float) -> "Tensor":
    """Each image is to be nearest to its own text, and each text to its image; the others of its group are left out."""
    import torch

    own = torch.eye(len(images_ND), dtype=torch.bool, device=images_ND.device)
    others = (groups_N[:, None] == groups_N[None]) & ~own
    logits = (images_ND @ texts_ND.T / temperature).masked_fill(others, _NEVER)
    by_image, by_text = (torch.log_softmax(logits, dim=dim).diagonal().mean() for dim in (1, 0))
    return -(by_image + by_text) / 2
