"""AP by class and by size, and precision over recall: pycocotools' own evaluation and arrays.

``small`` is an area below 32^2 pixels, ``large`` above 96^2, as COCO has it. At most 100 detections
of a class on an image count.
"""

import contextlib
import io
from typing import Any, Dict, List, Optional, Sequence

import numpy as np
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from freekd.tasks.objects import Objects

SIZES = ("small", "medium", "large")  # pycocotools' areas 1, 2, 3; 0 is all


def evaluate(truth: Sequence[Objects], found: Sequence[Objects], classes: int) -> COCOeval:
    """COCO's evaluation of boxes, accumulated.

    Labelled objects and detections have the ids 1, 2, ... in the order of images, then in the
    given order; images and classes have their places as ids. An ignored object of any class stands
    for one of each class, with ids after all others.
    """
    with contextlib.redirect_stdout(io.StringIO()):
        evaluation = COCOeval(_coco(truth, classes), _coco(found, classes), "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
    return evaluation


def _coco(images: Sequence[Objects], classes: int) -> COCO:
    rows: List[Dict[str, Any]] = []
    more: List[Dict[str, Any]] = []
    for image, one in enumerate(images):
        for place in range(len(one.labels)):
            row = dict(
                id=0,
                image_id=image,
                category_id=int(one.labels[place]),
                bbox=one.boxes[place].tolist(),
                area=float(one.areas[place]),
                score=float(one.scores[place]),
                iscrowd=int(one.ignored[place]),
            )
            rows.append(row)
            if one.labels[place] < 0:
                more += [dict(row, category_id=label) for label in range(classes)]
    for number, row in enumerate([*rows, *more], 1):
        row["id"] = number
    coco = COCO()
    coco.dataset = dict(
        images=[dict(id=image) for image in range(len(images))],
        categories=[dict(id=label) for label in range(classes)],
        annotations=[row for row in [*rows, *more] if row["category_id"] >= 0],
    )
    coco.createIndex()
    return coco


def mean(values: np.ndarray) -> Optional[float]:
    """Of those that are there: pycocotools writes -1 where there is nothing to find.

    >>> mean(np.array([0.5, -1, 1.0])), mean(np.array([-1.0]))
    (0.75, None)
    """
    there = values[values > -1]
    return round(float(there.mean()), 6) if there.size else None


def tables(evaluation: COCOeval, classes: Sequence[str]) -> Dict[str, Any]:
    """AP in all, by size and by class, and the curves."""
    precision = evaluation.eval["precision"][..., -1]  # (IoU, recall, class, size)
    recall = evaluation.eval["recall"][..., -1]  # (IoU, class, size)
    thresholds = np.round(evaluation.params.iouThrs, 2)
    half, three = (int(np.flatnonzero(thresholds == thr)[0]) for thr in (0.5, 0.75))
    counts = _counts(evaluation, len(classes))
    by_class = {}
    for label, name in enumerate(classes):
        row: Dict[str, Any] = dict(
            AP=mean(precision[:, :, label, 0]),
            AP50=mean(precision[half, :, label, 0]),
            AP75=mean(precision[three, :, label, 0]),
        )
        row.update({size: mean(precision[:, :, label, n]) for n, size in enumerate(SIZES, 1)})
        row["objects"] = int(counts[label].sum())
        by_class[name] = row
    return dict(
        AP=mean(precision[..., 0]),
        AP50=mean(precision[half, ..., 0]),
        AP75=mean(precision[three, ..., 0]),
        by_size={
            size: dict(
                AP=mean(precision[..., n]),
                AR=mean(recall[..., n]),
                objects=int(counts[:, n - 1].sum()),
            )
            for n, size in enumerate(SIZES, 1)
        },
        by_class=by_class,
        curves={
            "recall": [round(float(value), 2) for value in evaluation.params.recThrs],
            "0.50": _curve(precision[half, :, :, 0]),
            "0.75": _curve(precision[three, :, :, 0]),
        },
        curves_by_class={
            name: _curve(precision[half, :, [label], 0].T) for label, name in enumerate(classes)
        },
    )


def _curve(precision: np.ndarray) -> List[Optional[float]]:
    """(recall, class) -> the mean over classes at each recall."""
    return [mean(row) for row in precision]


def _counts(evaluation: COCOeval, classes: int) -> np.ndarray:
    """(class, size): objects that count. As with COCO one of 32^2 or 96^2 is of both sizes."""
    counts = np.zeros((classes, len(SIZES)), dtype=np.int64)
    areas = evaluation.params.areaRng[1:]
    for row in evaluation.cocoGt.dataset["annotations"]:
        if not row["iscrowd"]:
            fits = [low <= row["area"] <= high for low, high in areas]
            counts[row["category_id"]] += np.array(fits)
    return counts
