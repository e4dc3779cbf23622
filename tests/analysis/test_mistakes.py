"""Kinds of mistakes: each by hand; the numbers of tidecv 1.0.1 for random boxes; COCO's AP."""

import numpy as np
import pytest
from analysis.scenes import scenes

from freekd.analysis import mistakes
from freekd.analysis.precision import evaluate
from freekd.tasks.objects import objects

BOX = [0, 0, 10, 10]
# (box, class, score) of one detection, and its kind; the object is BOX of class 0
CASES = {
    "right": [(BOX, 0, 0.9)],
    "class": [(BOX, 1, 0.9)],
    "place": [([0, 0, 10, 4], 0, 0.9)],  # IoU 0.4
    "both": [([0, 0, 10, 4], 1, 0.9)],
    "duplicate": [(BOX, 0, 0.9), (BOX, 0, 0.8)],
    "background": [([50, 50, 10, 10], 0, 0.9)],
}
EDGES = [
    ([0, 0, 10, 5], 0, "right"),  # IoU 0.5
    ([0, 0, 10, 5], 1, "class"),
    ([0, 0, 10, 1], 0, "place"),  # 0.1
    ([0, 0, 10, 1], 1, "background"),
    ([0, 0, 10, 0.9], 0, "background"),
    ([0, 0, 10, 1.1], 1, "both"),
]


def judged(truth, found, classes=2):
    return mistakes.judge(truth, found, evaluate(truth, found, classes))


@pytest.mark.parametrize("kind", CASES)
def test_by_hand(kind):
    one = judged([objects([BOX], [0])], [objects(*zip(*CASES[kind]))])
    assert one.kind[-1] == kind
    # an object that is found, or that a detection of kind class or place is about, is not missed
    assert one.missed.tolist() == [kind in ("both", "background")]


@pytest.mark.parametrize("box, label, kind", EDGES)
def test_at_the_thresholds(box, label, kind):
    assert judged([objects([BOX], [0])], [objects([box], [label], [0.9])]).kind.tolist() == [kind]


def test_a_duplicate_at_the_threshold():
    found = objects([BOX, [0, 0, 10, 5]], [0, 0], [0.9, 0.8])  # IoU 0.5
    assert judged([objects([BOX], [0])], [found]).kind.tolist() == ["right", "duplicate"]


def test_place_comes_before_class_and_class_before_duplicate():
    truth = objects([BOX, [0, 0, 10, 6]], [0, 1])
    # IoU 0.4 with its class, 0.67 with the other one
    found = objects([[0, 0, 10, 4]], [0], [0.9])
    assert judged([truth], [found]).kind.tolist() == ["place"]
    # a duplicate of class 0 that also hits an object of class 1
    found = objects([BOX, BOX], [0, 0], [0.9, 0.8])
    assert judged([objects([BOX, BOX], [0, 1])], [found]).kind.tolist() == ["right", "class"]


def test_crowds_and_an_image_without_objects():
    crowd = objects([[0, 0, 100, 100]], [0], ignored=[True])
    truth = [crowd, objects([], []), objects([BOX], [0])]
    inside = objects([[5, 5, 5, 5], [5, 5, 5, 5]], [0, 1], [0.9, 0.8])
    one = judged(truth, [inside, objects([BOX], [1], [0.7]), objects([], [])])
    assert one.kind.tolist() == ["ignored", "background", "background"]
    assert one.missed.tolist() == [False, True]


def test_mending_by_hand():
    """One object found at 0.5; above it a wrong class (0.9), about another object of class 1."""
    truth = [objects([BOX, [50, 50, 10, 10]], [0, 1])]
    found = [objects([[50, 50, 10, 10], BOX], [0, 0], [0.9, 0.5])]
    one = judged(truth, found)
    # class 0: precision 1/2 at recall 1; class 1: nothing
    assert mistakes.mean_precision(one) == pytest.approx((0.5 + 0) / 2)
    cost = mistakes.costs(one)
    assert cost["class"] == pytest.approx((1 + 1) / 2 - 0.25)  # both right
    assert cost["false positive"] == pytest.approx((1 + 0) / 2 - 0.25)
    # without the object of class 1 nothing of its class is left: class 0 alone
    assert cost["false negative"] == pytest.approx(0.5 - 0.25)
    assert cost["missed"] == 0  # the wrong class is about it
    assert cost["place"] == cost["both"] == cost["duplicate"] == cost["background"] == 0


def test_of_two_about_one_object_the_best_is_mended():
    truth = [objects([BOX, [50, 50, 10, 10]], [0, 0])]
    near = [0, 0, 10, 4]
    found = [objects([near, near, [50, 50, 10, 10]], [0, 0, 0], [0.9, 0.8, 0.7])]
    one = judged(truth, found, 1)
    assert one.kind.tolist() == ["place", "place", "right"]
    # 1/3 at recalls to 0.5, that is 51 of 101; mended: 0.9 and 0.7 right, 0.8 away
    assert mistakes.mean_precision(one) == pytest.approx(51 / 101 / 3)
    assert mistakes.costs(one)["place"] == pytest.approx(1 - 51 / 101 / 3, abs=1e-6)


# --------------------------------------------------------------------------- tidecv's numbers
KINDS = ("class", "place", "both", "duplicate", "background", "missed")
# (seed, share of crowds): AP50, gains by kind and of both special kinds, in percent; counts.
# tidecv counts detections in crowds too, as they are in none of its curves.
TIDE = {
    (6, 0.0): (
        9.2682,
        (4.959, 31.9374, 3.8844, 0.03, 1.5663, 1.5952, 29.3456, 15.1536),
        (3, 20, 11, 2, 10, 4),
    ),
    (8, 0.0): (
        15.0122,
        (9.0337, 19.4377, 0.0, 0.3123, 6.5059, 5.2248, 14.3607, 35.7143),
        (3, 10, 1, 2, 12, 4),
    ),
    (9, 0.0): (
        16.9756,
        (1.0896, 27.2351, 0.688, 0.0829, 2.8955, 5.897, 19.658, 21.9619),
        (3, 19, 6, 3, 9, 9),
    ),
    (8, 0.25): (17.2324, (9.1309, 16.1834, 0.0, 0.3143, 7.025, 4.2904, 13.1306, 37.6473), None),
    (24, 0.25): (8.5337, (7.9155, 26.603, 2.3974, 0.1487, 1.4333, 4.1631, 21.1693, 19.5615), None),
    (29, 0.25): (6.4106, (6.1056, 24.9065, 2.3581, 0.275, 2.1519, 1.4701, 21.6422, 9.1584), None),
}


@pytest.mark.parametrize("seed, crowds", TIDE)
def test_as_tidecv_has_it(seed, crowds):
    precision, gains, counts = TIDE[seed, crowds]
    one = judged(*scenes(seed, crowds=crowds), 3)
    assert 100 * mistakes.mean_precision(one) == pytest.approx(precision, abs=2e-4)
    cost = mistakes.costs(one)
    assert [100 * value for value in cost.values()] == pytest.approx(gains, abs=2e-4)
    if counts is not None:
        of_detections = [int((one.kind == kind).sum()) for kind in KINDS[:-1]]
        assert (*of_detections, int(one.missed.sum())) == counts


@pytest.mark.parametrize("digits", (16, 1))
@pytest.mark.parametrize("seed", range(5))
def test_without_mending_it_is_coco_s(seed, digits):
    """With one digit many scores are equal."""
    truth, found = scenes(seed, crowds=0.2)
    found = [one._replace(scores=one.scores.round(digits)) for one in found]
    evaluation = evaluate(truth, found, 3)
    values = evaluation.eval["precision"][0, :, :, 0, -1]
    expected = values[values > -1].mean()
    one = mistakes.judge(truth, found, evaluation)
    assert mistakes.mean_precision(one) == pytest.approx(expected, abs=1e-12)


def test_nothing_at_all():
    one = judged([objects([], [])], [objects([], [])])
    assert mistakes.mean_precision(one) is None
    assert set(mistakes.costs(one).values()) == {None}
    assert np.isclose(mistakes.mean_precision(judged([objects([BOX], [0])], [objects([], [])])), 0)
