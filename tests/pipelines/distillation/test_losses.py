"""What a student is taught: closed forms, and what weighs how much."""

import math

import pytest
import torch

from pipelines.distillation.losses import Lesson, cosine_loss, mean_cosines, student_loss

ANGLES = torch.tensor([0.0, 0.1, 0.9])


def circle(angles: torch.Tensor) -> torch.Tensor:
    return torch.stack([angles.cos(), angles.sin()], dim=1)


def lesson(**given: object) -> Lesson:
    values = {"dims": (2,), "cosine": 1.0, "relational": 0.0, "hard": 0.0}
    return Lesson(**{**values, **given})  # type: ignore[arg-type]


def test_the_cosine_loss_is_one_minus_the_mean_cosine_whatever_the_lengths() -> None:
    out, target = circle(ANGLES) * torch.tensor([[3.0], [0.2], [1.0]]), circle(torch.zeros(3)) * 7
    found = student_loss(out, target, lesson())
    assert float(found) == pytest.approx(1 - float(ANGLES.cos().mean()), abs=1e-6)
    assert mean_cosines(out, target, [2]) == [pytest.approx(float(ANGLES.cos().mean()), abs=1e-6)]


def test_hard_examples_weigh_by_their_error_and_their_weights_have_no_gradient() -> None:
    out, target = circle(ANGLES).requires_grad_(), circle(torch.zeros(3))
    errors = 1 - ANGLES.cos()
    loss = cosine_loss(out, target, 1.0)
    assert float(loss.detach()) == pytest.approx(float((errors**2).sum() / errors.sum()), abs=1e-6)
    loss.backward()
    assert out.grad is not None
    assert torch.allclose(out.grad[:, 0], -errors / errors.sum(), atol=1e-6)
    perfect = circle(torch.zeros(2))
    assert float(cosine_loss(perfect, perfect, 2.0)) == 0


def test_the_relational_loss_sees_no_turn_of_the_whole_and_the_cosine_loss_does() -> None:
    target = circle(ANGLES)
    turned, bent = circle(ANGLES + 2.0), circle(ANGLES * torch.tensor([1.0, 5.0, 1.0]))
    alone = lesson(cosine=0.0, relational=1.0)
    assert float(student_loss(turned, target, alone)) == pytest.approx(0, abs=1e-6)
    assert float(student_loss(bent, target, alone)) > 0.01
    assert float(student_loss(turned, target, lesson())) == pytest.approx(1 - math.cos(2.0), abs=1e-6)
    both = student_loss(bent, target, lesson(cosine=0.5, relational=2.0))
    parts = 0.5 * student_loss(bent, target, lesson()) + 2 * student_loss(bent, target, alone)
    assert float(both) == pytest.approx(float(parts), rel=1e-6)


def test_nested_lengths_are_taught_the_first_numbers_each_by_its_own_length() -> None:
    out = torch.tensor([[1.0, 0.0, 5.0]])
    target = torch.tensor([[2.0, 0.0, 0.0, 9.0]])
    assert float(student_loss(out, target, lesson(dims=(2,)))) == pytest.approx(0, abs=1e-6)
    third = 1 - 1 / math.sqrt(26)
    assert float(student_loss(out, target, lesson(dims=(3, 2)))) == pytest.approx(third / 2, abs=1e-6)


def test_one_image_alone_has_no_relations() -> None:
    assert float(student_loss(circle(ANGLES[:1]), circle(ANGLES[:1]), lesson(relational=1.0))) == 0
