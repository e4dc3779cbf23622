"""Confusion of boxes: each case by hand, and mmdet's own tool on random boxes."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest
from analysis.scenes import scenes

from freekd import compat

compat.apply()

from freekd.analysis.matching import confusion, of_rows, overlaps
from freekd.tasks.objects import objects

BOX, FAR = [0, 0, 10, 10], [50, 50, 10, 10]
ONE = objects([BOX], [0])
TWO = objects([BOX, BOX], [0, 1])
SAME = objects([BOX, BOX], [0, 0])
CROWD = objects([[0, 0, 100, 100]], [0], ignored=[True])
ANY = objects([[0, 0, 100, 100]], [-1], ignored=[True])
HALF = [0, 0, 10, 5]  # 50 / 100
LESS = [0, 0, 10, 4.9]  # 49 / 100

# case: objects, detections (box, class, score), entries that are not 0: as mmdet counts, and once.
# Classes 0 and 1; 2 is the background.
CASES = {
    "right": (ONE, [(BOX, 0, 0.9)], {(0, 0): 1}, {(0, 0): 1}),
    # no detection of its own class hits it, so it is lost as well
    "wrong class": (ONE, [(BOX, 1, 0.9)], {(0, 1): 1, (0, 2): 1}, {(0, 1): 1}),
    "duplicate": (ONE, [(BOX, 0, 0.9), (BOX, 0, 0.8)], {(0, 0): 2}, {(0, 0): 1, (2, 0): 1}),
    "right and wrong": (
        ONE,
        [(BOX, 1, 0.9), (BOX, 0, 0.8)],
        {(0, 0): 1, (0, 1): 1},
        {(0, 0): 1, (2, 1): 1},  # its own class first, whatever the scores
    ),
    "missed": (ONE, [], {(0, 2): 1}, {(0, 2): 1}),
    "background": (ONE, [(FAR, 1, 0.9)], {(2, 1): 1, (0, 2): 1}, {(2, 1): 1, (0, 2): 1}),
    "no object": (objects([], []), [(BOX, 0, 0.9)], {(2, 0): 1}, {(2, 0): 1}),
    "low score": (ONE, [(BOX, 0, 0.29)], {(0, 2): 1}, {(0, 2): 1}),
    "score at the threshold": (ONE, [(BOX, 0, 0.3)], {(0, 0): 1}, {(0, 0): 1}),
    "IoU at the threshold": (ONE, [(HALF, 0, 0.9)], {(0, 0): 1}, {(0, 0): 1}),
    "IoU below it": (ONE, [(LESS, 0, 0.9)], {(2, 0): 1, (0, 2): 1}, {(2, 0): 1, (0, 2): 1}),
    "one for two objects": (
        TWO,
        [(BOX, 0, 0.9)],
        {(0, 0): 1, (1, 0): 1, (1, 2): 1},
        {(0, 0): 1, (1, 2): 1},
    ),
    # two of one class at one place: the second has no detection left
    "tie of objects": (SAME, [(BOX, 0, 0.9)], {(0, 0): 2}, {(0, 0): 1, (0, 2): 1}),
    "tie of scores": (
        TWO,
        [(BOX, 0, 0.9), (BOX, 0, 0.9)],
        {(0, 0): 2, (1, 0): 2, (1, 2): 1},
        {(0, 0): 1, (1, 0): 1},
    ),
    "crowd": (CROWD, [([10, 10, 5, 5], 0, 0.9)], {}, {}),
    "another class in a crowd": (CROWD, [([10, 10, 5, 5], 1, 0.9)], {(2, 1): 1}, {(2, 1): 1}),
    "ignored, of any class": (ANY, [([10, 10, 5, 5], 1, 0.9)], {}, {}),
    "half in a crowd": (CROWD, [([95, 0, 10, 10], 0, 0.9)], {}, {}),  # 50 of its 100
    "less in a crowd": (CROWD, [([96, 0, 10, 10], 0, 0.9)], {(2, 0): 1}, {(2, 0): 1}),
    "duplicate in a crowd": (
        objects([[0, 0, 100, 100], BOX], [0, 0], ignored=[True, False]),
        [(BOX, 0, 0.9), (BOX, 0, 0.8)],
        {(0, 0): 2},
        {(0, 0): 1},
    ),
    "object in a crowd": (
        objects([[0, 0, 100, 100], BOX], [0, 0], ignored=[True, False]),
        [(BOX, 0, 0.9)],
        {(0, 0): 1},
        {(0, 0): 1},
    ),
}


@pytest.mark.parametrize("counting", ("every", "once"))
@pytest.mark.parametrize("case", CASES)
def test_by_hand(case, counting):
    truth, rows, *expected = CASES[case]
    found = objects(*zip(*rows)) if rows else objects([], [])
    counts = confusion([truth], [found], 2, counting=counting)
    places = {(int(i), int(j)): int(counts[i, j]) for i, j in zip(*np.nonzero(counts))}
    assert places == expected[counting == "once"]


def test_once_takes_the_largest_overlap_and_the_best_score_first():
    truth = objects([[0, 0, 10, 10], [2, 0, 10, 10]], [0, 1])
    # IoU with the objects: 90 / 110 and 90 / 110 -> 1.0 for the second's own place
    found = objects([[2, 0, 10, 10], [0, 0, 10, 10]], [1, 1], [0.6, 0.7])
    # the better one lies on the first object, yet its own class comes first: 80 / 120
    counts = confusion([truth], [found], 2, counting="once")
    assert counts.tolist() == [[0, 1, 0], [0, 1, 0], [0, 0, 0]]
    # at 0.7 the better one cannot take the second object; the other can
    counts = confusion([truth], [found], 2, iou_thr=0.7, counting="once")
    assert counts.tolist() == [[0, 1, 0], [0, 1, 0], [0, 0, 0]]
    # of two wrong classes the better one
    found = objects([BOX, BOX], [1, 2], [0.6, 0.7])
    counts = confusion([ONE], [found], 3, counting="once")
    assert counts[0].tolist() == [0, 0, 1, 0] and counts[3].tolist() == [0, 1, 0, 0]
    # a detection prefers its largest overlap among equals
    truth = objects([[0, 0, 10, 10], [2, 0, 10, 10]], [0, 0])
    found = objects([[2, 0, 10, 10], [0, 2, 10, 10]], [0, 0], [0.9, 0.8])
    assert confusion([truth], [found], 1, counting="once").tolist() == [[2, 0], [0, 0]]


def test_once_counts_each_object_and_each_detection_once():
    truth, found = scenes(3, images=40)
    counts = confusion(truth, found, 3, score_thr=0.4, counting="once")
    for label in range(3):
        assert counts[label].sum() == sum((one.labels == label).sum() for one in truth)
        shown = sum(((one.labels == label) & (one.scores >= 0.4)).sum() for one in found)
        assert counts[:, label].sum() == shown


@pytest.fixture(scope="module")
def stock():
    """mmdet's own tool, as it is installed."""
    import mmdet

    path = Path(mmdet.__file__).parent / ".mim/tools/analysis_tools/confusion_matrix.py"
    spec = importlib.util.spec_from_file_location("stock_confusion", str(path))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("iou_thr, score_thr", [(0.5, 0.3), (0.3, 0.0), (0.4, 0.6)])
def test_every_is_what_mmdet_counts(stock, iou_thr, score_thr):
    truth, found = scenes(0, images=150)
    expected = np.zeros((4, 4))
    for labelled, detected in zip(truth, found):
        corners = np.c_[detected.boxes[:, :2], detected.boxes[:, :2] + detected.boxes[:, 2:]]
        rows = np.c_[corners, detected.scores]
        boxes = np.c_[labelled.boxes[:, :2], labelled.boxes[:, :2] + labelled.boxes[:, 2:]]
        stock.analyze_per_img_dets(
            expected, boxes, labelled.labels, [rows[detected.labels == n] for n in range(3)],
            score_thr, iou_thr,
        )  # fmt: skip
    assert (expected.sum(axis=1) > 0).all() and np.count_nonzero(expected) > 12
    assert confusion(truth, found, 3, iou_thr, score_thr).tolist() == expected.tolist()


def test_overlaps_read_boxes_in_any_memory_order():
    boxes = np.asfortranarray([[0.0, 0, 10, 10], [5, 0, 10, 10]])
    iou = overlaps(objects(boxes, [0, 0]), objects(boxes, [0, 0]))
    assert np.allclose(iou, [[1, 50 / 150], [50 / 150, 1]])


def test_rows_are_shares():
    assert of_rows(np.array([[2, 2], [0, 0]])).tolist() == [[0.5, 0.5], [0, 0]]
