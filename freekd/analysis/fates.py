"""What becomes of each labelled object in two models: what one finds and the other does not.

Only detections with a score of at least a threshold count, as for a user who sees them.
"""

from typing import Any, Dict, List, NamedTuple, Sequence

import numpy as np

from freekd.analysis.matching import overlaps
from freekd.analysis.mistakes import (
    BACKGROUND,
    FOREGROUND,
    IGNORED,
    OF_DETECTIONS,
    OF_OBJECTS,
    RIGHT,
    Judged,
)
from freekd.tasks.objects import Objects

FOUND = "found"
FATES = (FOUND, *OF_OBJECTS)


class Seen(NamedTuple):
    """A model's detections above the threshold.

    Attributes:
        found: the detections, by image.
        kinds: the kind of each, by image.
        fates: of each object that is not ignored, in the order of images: one of ``FATES``.
    """

    found: List[Objects]
    kinds: List[np.ndarray]
    fates: np.ndarray


def see(
    truth: Sequence[Objects], found: Sequence[Objects], judged: Judged, score_thr: float
) -> Seen:
    """What a model shows at a threshold.

    An object is ``found`` if a detection is matched with it. If not, detections that are wrong say
    what became of it, the first that fits: ``class``, one of another class with IoU >= 0.5;
    ``place``, one of its class with 0.1 <= IoU < 0.5; ``both``, one of another class with such an
    IoU; else it is ``missed``.
    """
    ends = np.cumsum([len(one.labels) for one in found])[:-1]
    shown, kinds = [], []
    for one, kind in zip(found, np.split(judged.kind, ends)):
        kept = (one.scores >= score_thr) & (kind != IGNORED)
        shown.append(Objects(*(column[kept] for column in one)))
        kinds.append(kind[kept])
    matched = judged.matched >= 0
    matched[matched] = judged.score[judged.matched[matched]] >= score_thr
    fates: List[str] = []
    first = 0
    for labelled, detected, kind in zip(truth, shown, kinds):
        numbers = np.arange(first, first + len(labelled.labels))
        first += len(numbers)
        wrong = kind != RIGHT
        iou = overlaps(detected, labelled)[wrong]
        same = detected.labels[wrong][:, None] == labelled.labels[None]
        near = (iou >= BACKGROUND) & (iou < FOREGROUND)
        fits = {
            FOUND: matched[numbers],
            "class": ((iou >= FOREGROUND) & ~same).any(axis=0),
            "place": (near & same).any(axis=0),
            "both": (near & ~same).any(axis=0),
            "missed": np.ones(len(numbers), dtype=bool),
        }
        for place in np.flatnonzero(~labelled.ignored):
            fates.append(next(fate for fate in FATES if fits[fate][place]))
    return Seen(shown, kinds, np.array(fates, dtype=object))


def table_of_fates(first: Seen, other: Seen) -> Dict[str, Dict[str, int]]:
    """Objects by what became of them in the first model, then in the other."""
    return {
        one: {
            two: int(((first.fates == one) & (other.fates == two)).sum()) for two in FATES
        }
        for one in FATES
    }  # fmt: skip


def own_mistakes(model: Seen, reference: Seen) -> Dict[str, Dict[str, int]]:
    """Mistakes of a model by kind: all, and those that the reference does not make.

    Of an object: the reference finds it. Of a detection (``duplicate``, ``background``): the
    reference has no wrong detection of the same class with IoU >= 0.5 with it.
    """
    counts = {}
    for kind in OF_OBJECTS:
        mine = model.fates == kind
        counts[kind] = dict(all=int(mine.sum()), own=int((mine & (reference.fates == FOUND)).sum()))
    for kind in OF_DETECTIONS:
        counts[kind] = dict(all=0, own=0)
    for detected, kinds, others, of_others in zip(
        model.found, model.kinds, reference.found, reference.kinds
    ):
        wrong = Objects(*(column[of_others != RIGHT] for column in others))
        iou = overlaps(detected, wrong)
        same = detected.labels[:, None] == wrong.labels[None]
        shared = ((iou >= FOREGROUND) & same).any(axis=1)
        for kind in OF_DETECTIONS:
            counts[kind]["all"] += int((kinds == kind).sum())
            counts[kind]["own"] += int(((kinds == kind) & ~shared).sum())
    return counts


def compare(reference: str, first: Seen, name: str, other: Seen) -> Dict[str, Any]:
    """Two models, both ways."""
    return {
        "reference": reference,
        "model": name,
        "objects": table_of_fates(first, other),
        "mistakes_of_model": own_mistakes(other, first),
        "mistakes_of_reference": own_mistakes(first, other),
    }
