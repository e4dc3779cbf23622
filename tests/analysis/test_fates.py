"""Objects of two models, by hand."""

import numpy as np
import pytest

from freekd.analysis import fates, mistakes
from freekd.analysis.precision import evaluate
from freekd.tasks.objects import objects

BOX, LOW, FAR = [0, 0, 10, 10], [0, 0, 10, 4], [50, 50, 10, 10]  # IoU of LOW with BOX: 0.4
TRUTH = [objects([BOX], [0])] * 6 + [objects([[0, 0, 90, 90]], [0], ignored=[True])]
EMPTY = objects([], [])
CROWD = objects([[5, 5, 5, 5]], [0], [0.9])


def seen(found, score_thr=0.3):
    evaluation = evaluate(TRUTH, found, 2)
    return fates.see(TRUTH, found, mistakes.judge(TRUTH, found, evaluation), score_thr)


def one(*rows):
    return objects(*zip(*rows))


@pytest.fixture(scope="module")
def models():
    """A teacher that finds the first four of six objects, and a student."""
    good, low = (BOX, 0, 0.9), (BOX, 0, 0.2)
    teacher = [one(good), one(good), one(good), one(good), one((BOX, 1, 0.8)), EMPTY, CROWD]
    student = [
        one(good, (BOX, 0, 0.8), (FAR, 1, 0.7)),  # a duplicate, and one on the background
        one((BOX, 1, 0.9), low),  # another class; the right one is below the threshold
        one((LOW, 0, 0.9)),
        one((LOW, 1, 0.9)),
        one(good),
        EMPTY,
        CROWD,
    ]
    return teacher, student


def test_fates(models):
    teacher, student = map(seen, models)
    assert teacher.fates.tolist() == ["found"] * 4 + ["class", "missed"]
    assert student.fates.tolist() == ["found", "class", "place", "both", "found", "missed"]
    assert seen(models[1], 0.1).fates.tolist()[1] == "found"
    assert seen(models[1], 0.95).fates.tolist() == ["missed"] * 6
    assert [len(kinds) for kinds in student.kinds] == [3, 1, 1, 1, 1, 0, 0]


def test_what_the_student_gets_wrong_and_the_teacher_does_not(models):
    teacher, student = map(seen, models)
    found = fates.compare("teacher", teacher, "student", student)
    assert found["objects"]["found"] == dict(found=1, place=1, both=1, missed=0, **{"class": 1})
    assert found["objects"]["class"]["found"] == found["objects"]["missed"]["missed"] == 1
    assert sum(sum(row.values()) for row in found["objects"].values()) == 6
    assert found["mistakes_of_model"] == {
        "class": dict(all=1, own=1),
        "place": dict(all=1, own=1),
        "both": dict(all=1, own=1),
        "missed": dict(all=1, own=0),  # the teacher does not find it either
        "duplicate": dict(all=1, own=1),
        "background": dict(all=1, own=1),
    }
    other = found["mistakes_of_reference"]
    assert other["class"] == dict(all=1, own=1) and other["missed"] == dict(all=1, own=0)
    assert other["background"] == other["duplicate"] == dict(all=0, own=0)


def test_a_false_detection_of_both_is_nobody_s_own():
    near = [51, 50, 10, 10]  # IoU with FAR: 90 / 110
    teacher = seen([one((near, 1, 0.9)), *[EMPTY] * 6])
    student = seen([one((FAR, 1, 0.9), (FAR, 0, 0.8)), *[EMPTY] * 6])
    counts = fates.own_mistakes(student, teacher)
    assert counts["background"] == dict(all=2, own=1)  # the other class is its own
    below = seen([one((near, 1, 0.2)), *[EMPTY] * 6])  # the teacher's is not shown
    assert fates.own_mistakes(student, below)["background"] == dict(all=2, own=2)


def test_a_detection_that_is_right_elsewhere_is_no_confusion():
    """Two objects at one place: the right detection of one does not explain the other."""
    truth = [objects([BOX, BOX], [0, 1])]
    found = [one((BOX, 0, 0.9))]
    judged = mistakes.judge(truth, found, evaluate(truth, found, 2))
    assert fates.see(truth, found, judged, 0.3).fates.tolist() == ["found", "missed"]
    assert np.array_equal(judged.missed, [False, True])
