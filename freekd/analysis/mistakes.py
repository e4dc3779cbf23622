"""What kind of mistake a detection is, and what each kind costs: the categories of TIDE.

Bolya, Foley, Hays, Hoffman: TIDE: A General Toolbox for Identifying Object Detection Errors, ECCV
2020, section 2. Detections are right or not by pycocotools' matching at an IoU of t_f = 0.5; a
wrong one is of the first kind that fits:

* ``place`` (localisation): t_b <= IoU < t_f with an object of its class, t_b = 0.1;
* ``class`` (classification): IoU >= t_f with an object of another class;
* ``duplicate``: IoU >= t_f with an object of its class, which a better-scored detection has taken;
* ``background``: IoU <= t_b with every object;
* ``both``: anything else, so wrong in class and place.

An object that no detection is matched with is ``missed``, unless a detection of the kinds ``place``
or ``class`` is about it. The cost of a kind is the gain of AP at an IoU of 0.5 when its mistakes
are mended: of those about one free object, the best scored becomes right (of kind ``class`` as one
of the object's class); all others go away, and so do missed objects.
"""

from typing import Dict, List, NamedTuple, Optional, Sequence

import numpy as np
from pycocotools.cocoeval import COCOeval

from freekd.analysis.matching import overlaps
from freekd.tasks.objects import Objects

FOREGROUND, BACKGROUND = 0.5, 0.1
OF_OBJECTS = ("class", "place", "both", "missed")
OF_DETECTIONS = ("duplicate", "background")
KINDS = ("class", "place", "both", "duplicate", "background", "missed")
RIGHT, IGNORED = "right", "ignored"


class Judged(NamedTuple):
    """All detections and objects of a data set, in the order of images.

    Attributes:
        image, label, score, kind: of each detection; a kind, ``right`` or ``ignored``.
        about: the object that it is matched with, or of kind class or place about; -1: none.
        objects: image and label of each object; (m, 2).
        ignored: of each object.
        matched: the detection that is matched with each object; -1: none.
    """

    image: np.ndarray
    label: np.ndarray
    score: np.ndarray
    kind: np.ndarray
    about: np.ndarray
    objects: np.ndarray
    ignored: np.ndarray
    matched: np.ndarray

    @property
    def missed(self) -> np.ndarray:
        """Whether each object is, in TIDE's sense."""
        lost = ~self.ignored & (self.matched < 0)
        lost[self.about[np.isin(self.kind, ("class", "place")) & (self.about >= 0)]] = False
        return lost


def judge(truth: Sequence[Objects], found: Sequence[Objects], evaluation: COCOeval) -> Judged:
    """What each detection is.

    Args:
        truth, found: by image.
        evaluation: of both, by :func:`freekd.analysis.precision.evaluate`.
    """
    image, label, score = (_joined(found, name) for name in ("image", "labels", "scores"))
    objects = np.stack([_joined(truth, "image"), _joined(truth, "labels")], axis=1)
    ignored = _joined(truth, "ignored")
    kind = np.full(len(label), IGNORED, dtype=object)
    about = np.full(len(label), -1, dtype=np.int64)
    matched = np.full(len(objects), -1, dtype=np.int64)
    counted = np.zeros(len(label), dtype=bool)
    half = int(np.argmin(np.abs(evaluation.params.iouThrs - FOREGROUND)))
    for one in evaluation.evalImgs:
        if one is None or list(one["aRng"]) != list(evaluation.params.areaRng[0]):
            continue
        places = np.asarray(one["dtIds"], dtype=np.int64) - 1
        targets = one["dtMatches"][half].astype(np.int64) - 1
        kept = ~one["dtIgnore"][half].astype(bool)
        counted[places[kept]] = True
        right = kept & (targets >= 0)
        kind[places[right]] = RIGHT
        about[places[right]] = targets[right]
        matched[targets[right]] = places[right]
    first, first_object = 0, 0
    for labelled, detected in zip(truth, found):
        rows = np.arange(first, first + len(detected.labels))
        numbers = np.arange(first_object, first_object + len(labelled.labels))
        first, first_object = first + len(rows), first_object + len(numbers)
        wrong = counted[rows] & (kind[rows] != RIGHT)
        free = ~labelled.ignored
        iou = overlaps(detected, labelled)[:, free]
        same = detected.labels[:, None] == labelled.labels[free][None]
        for place in np.flatnonzero(wrong):
            kind[rows[place]], best = _kind_of(iou[place], same[place])
            about[rows[place]] = numbers[free][best] if best >= 0 else -1
    return Judged(image, label, score, kind, about, objects, ignored, matched)


def _kind_of(iou: np.ndarray, same: np.ndarray) -> "tuple[str, int]":
    """The kind of one wrong detection, and the object that it is about."""
    own, other = np.where(same, iou, 0.0), np.where(same, 0.0, iou)
    if not len(iou):
        return "background", -1
    if BACKGROUND <= own.max() < FOREGROUND:
        return "place", int(own.argmax())
    if other.max() >= FOREGROUND:
        return "class", int(other.argmax())
    if own.max() >= FOREGROUND:
        return "duplicate", int(own.argmax())
    return ("background" if iou.max() <= BACKGROUND else "both"), -1


def _joined(images: Sequence[Objects], name: str) -> np.ndarray:
    if name == "image":
        return np.repeat(np.arange(len(images)), [len(one.labels) for one in images])
    return np.concatenate([getattr(one, name) for one in images])


# --------------------------------------------------------------------------- what they cost
def average_precision(score: np.ndarray, right: np.ndarray, objects: int) -> Optional[float]:
    """AP of one class as COCO has it: the mean precision at the recalls 0, 0.01, ..., 1.

    At each the best precision at this recall or a higher one; None where there are no objects.

    >>> average_precision(np.array([0.9, 0.8]), np.array([True, False]), 1)
    1.0
    """
    if not objects:
        return None
    order = np.argsort(-score, kind="stable")
    hits = np.cumsum(right[order])
    precision = hits / np.arange(1, len(order) + 1)
    best = np.maximum.accumulate(precision[::-1])[::-1]
    recalls = np.linspace(0.0, 1.0, 101)
    places = np.searchsorted(hits / objects, recalls, side="left")
    return float(np.append(best, 0.0)[np.minimum(places, len(best))].mean())


def mean_precision(judged: Judged, mended: str = "") -> Optional[float]:
    """AP at an IoU of 0.5, the mean over classes that have objects; with a kind of ``mended``.

    ``false positive`` takes all wrong detections away, ``false negative`` all objects that no
    detection is matched with.
    """
    right, kept = judged.kind == RIGHT, judged.kind != IGNORED
    label = judged.label.copy()
    gone = np.zeros(len(judged.objects), dtype=bool)
    if mended == "missed":
        gone = judged.missed
    elif mended == "false negative":
        gone = judged.matched < 0
    elif mended == "false positive":
        kept = right
    elif mended:
        rows = judged.kind == mended
        kept = kept & ~rows
        if mended in ("class", "place"):
            best = np.flatnonzero(rows & _best_of_object(judged))
            kept[best], right[best] = True, True
            label[best] = judged.objects[judged.about[best], 1]
    values: List[float] = []
    for one in np.unique(judged.objects[~judged.ignored, 1]):
        mine = kept & (label == one)
        count = int(((judged.objects[:, 1] == one) & ~judged.ignored & ~gone).sum())
        value = average_precision(judged.score[mine], right[mine], count)
        if value is not None or mine.any():  # a class with nothing left to find, and nothing found
            values.append(value or 0.0)
    return float(np.mean(values)) if values else None


def _best_of_object(judged: Judged) -> np.ndarray:
    """Whether a detection is the best scored, of kind class or place, about a free object."""
    rows = np.flatnonzero(np.isin(judged.kind, ("class", "place")))
    rows = rows[judged.matched[judged.about[rows]] < 0]
    rows = rows[np.argsort(-judged.score[rows], kind="stable")]
    _, first = np.unique(judged.about[rows], return_index=True)
    chosen = np.zeros(len(judged.kind), dtype=bool)
    chosen[rows[first]] = True
    return chosen


def costs(judged: Judged) -> Dict[str, Optional[float]]:
    """The gain of AP at an IoU of 0.5 for each kind, and for all wrong detections and lost objects.

    As in TIDE, a loss by rounding of the recalls counts as 0.
    """
    base = mean_precision(judged)
    found: Dict[str, Optional[float]] = {}
    for kind in (*KINDS, "false positive", "false negative"):
        value = mean_precision(judged, kind)
        gain = None if base is None or value is None else round(max(value - base, 0.0), 6)
        found[kind] = gain
    return found
