"""What a student is worth beside its teacher, on vectors whose neighbours are known."""

import numpy as np
import pytest

from pipelines.distillation.judged import judge_student

RANDOM = np.random.default_rng(0)
TEACHER = RANDOM.normal(size=(120, 16)).astype(np.float32)
GROUPS = np.arange(120)
LABELS = (TEACHER[:, 0] > 0).astype(np.int64)


def test_a_student_that_is_its_teacher_finds_all_in_its_space_and_across() -> None:
    teacher, [student] = judge_student(TEACHER, 3 * TEACHER, (16,), GROUPS, LABELS, across=True)
    assert (student.recall == 1).all()
    assert student.across is not None
    assert (student.across == 1).all()
    assert student.right is not None
    assert teacher.right is not None
    assert (student.right == teacher.right).all()


def test_a_turned_student_has_its_teacher_s_neighbours_and_is_not_in_its_space() -> None:
    turn = np.linalg.qr(RANDOM.normal(size=(16, 16)))[0].astype(np.float32)
    _, [student] = judge_student(TEACHER, TEACHER @ turn, (16,), GROUPS, None, across=True)
    assert student.recall.mean() == pytest.approx(1)
    assert student.right is None
    assert student.across is not None
    assert student.across.mean() < 0.3


def test_shorter_lengths_are_judged_by_the_whole_teacher_and_never_across() -> None:
    _, students = judge_student(TEACHER, TEACHER, (16, 4), GROUPS, None, across=True)
    assert [each.dim for each in students] == [16, 4]
    assert 0.1 < students[1].recall.mean() < 0.9
    assert students[1].across is None


def test_an_image_is_not_asked_about_its_own_group_nor_judged_by_one_without_a_label() -> None:
    vectors = np.array([[1, 0], [1, 0.01], [1, 0.02], [0, 1], [0.02, 1]], np.float32)
    groups, labels = np.array([0, 0, 1, 2, 3]), np.array([0, 0, 1, -1, 1])
    teacher, _ = judge_student(vectors, vectors, (2,), groups, labels, across=False)
    assert teacher.right is not None
    # The nearest of the first two that is not of their group has another label; the fourth has none.
    assert np.array_equal(teacher.right, [0, 0, 0, np.nan, 1], equal_nan=True)
