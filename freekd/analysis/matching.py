"""Boxes of one image against each other: the counts of a confusion matrix.

Overlaps are pycocotools': intersection over union, and for an ignored object (a crowd) intersection
over the detection's own area.
"""

from typing import Sequence

import numpy as np
from pycocotools import mask

from freekd.tasks.objects import Objects

COUNTING = ("every", "once")


def overlaps(found: Objects, truth: Objects) -> np.ndarray:
    """(detections, objects): IoU; for ignored objects intersection over the detection's area."""
    if not len(found.labels) or not len(truth.labels):
        return np.zeros((len(found.labels), len(truth.labels)))
    crowd = truth.ignored.astype(np.uint8).tolist()
    # in C order: pycocotools reads the memory as it lies
    boxes = (np.ascontiguousarray(found.boxes), np.ascontiguousarray(truth.boxes))
    return np.asarray(mask.iou(*boxes, crowd))


def confusion(
    truth: Sequence[Objects],
    found: Sequence[Objects],
    classes: int,
    iou_thr: float = 0.5,
    score_thr: float = 0.3,
    counting: str = "every",
) -> np.ndarray:
    """Counts (classes + 1, classes + 1): labelled as the row's class, found as the column's.

    The last row and column are the background. Detections with a score below ``score_thr`` are
    left out. A detection hits each object with which its IoU is at least ``iou_thr``, of any class.

    ``counting="every"``, as mmdet's own tool: each hit counts once in (object's class, detection's
    class), so a second detection of an object counts again. A detection that hits nothing counts in
    (background, its class). An object that no detection of its own class hits counts in (its class,
    background), even if one of another class hit it.

    ``counting="once"``: each object and each detection counts once. In the order of their scores
    (equal scores: in the given order) detections take the object of their own class that they hit
    with the largest IoU and that is still free; then those left take what is still free of other
    classes in the same way. What is left counts as background's: a duplicate too.

    Ignored objects count nowhere. So does a detection that would be background's, but has at least
    ``iou_thr`` of its area in an ignored object of its class (or of any class).
    """
    count = _COUNT[counting]
    total = np.zeros((classes + 1, classes + 1), dtype=np.int64)
    for labelled, detected in zip(truth, found):
        kept = np.argsort(-detected.scores, kind="stable")
        kept = kept[detected.scores[kept] >= score_thr]
        detected = Objects(*(column[kept] for column in detected))
        iou = overlaps(detected, labelled)
        same = (labelled.labels[None] == detected.labels[:, None]) | (labelled.labels[None] < 0)
        ignored = ((iou >= iou_thr) & same)[:, labelled.ignored].any(axis=1)
        labels = labelled.labels[~labelled.ignored]
        count(total, iou[:, ~labelled.ignored], iou_thr, detected.labels, labels, ignored)
    return total


def _count_every(
    total: np.ndarray,
    iou: np.ndarray,
    thr: float,
    found: np.ndarray,
    labels: np.ndarray,
    ignored: np.ndarray,
) -> None:
    hits = iou >= thr
    detections, objects = np.nonzero(hits)
    np.add.at(total, (labels[objects], found[detections]), 1)
    lost = found[~hits.any(axis=1) & ~ignored]
    np.add.at(total, (-1, lost), 1)
    right = (hits & (found[:, None] == labels[None])).any(axis=0)
    np.add.at(total, (labels[~right], -1), 1)


def _count_once(
    total: np.ndarray,
    iou: np.ndarray,
    thr: float,
    found: np.ndarray,
    labels: np.ndarray,
    ignored: np.ndarray,
) -> None:
    free = np.ones(len(labels), dtype=bool)
    left = np.ones(len(found), dtype=bool)
    hits = iou >= thr
    same = found[:, None] == labels[None]
    for allowed in (hits & same, hits & ~same):
        for row in range(len(found)):
            fits = allowed[row] & free
            if left[row] and fits.any():
                best = int(np.argmax(np.where(fits, iou[row], -1.0)))
                free[best] = left[row] = False
                total[labels[best], found[row]] += 1
    np.add.at(total, (-1, found[left & ~ignored]), 1)
    np.add.at(total, (labels[free], -1), 1)


_COUNT = {"every": _count_every, "once": _count_once}


def of_rows(counts: np.ndarray) -> np.ndarray:
    """Each row as shares of its sum; rows of zeros stay so.

    >>> of_rows(np.array([[3, 1], [0, 0]]))
    array([[0.75, 0.25],
           [0.  , 0.  ]])
    """
    sums = counts.sum(axis=1, keepdims=True)
    return np.asarray(counts / np.maximum(sums, 1))
