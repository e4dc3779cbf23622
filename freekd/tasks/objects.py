"""Objects on an image, labelled or detected: what :mod:`freekd.analysis` compares."""

from typing import Any, Dict, List, NamedTuple, Sequence

import numpy as np


class Objects(NamedTuple):
    """The objects of one image, ``n`` of them.

    Attributes:
        boxes: (n, 4) float64: x, y, width, height in pixels, as COCO has it.
        labels: (n,) int64: places in the list of classes; -1, of an ignored one: any class.
        scores: (n,) float64: of detections; of labelled objects 1.
        ignored: (n,) bool: crowds, difficult ones: what is found there is neither right nor wrong.
        areas: (n,) float64: by them an object is small, medium or large.
    """

    boxes: np.ndarray
    labels: np.ndarray
    scores: np.ndarray
    ignored: np.ndarray
    areas: np.ndarray


def objects(
    boxes: Any, labels: Any, scores: Any = None, ignored: Any = None, areas: Any = None
) -> Objects:
    """:class:`Objects` of lists or arrays; without ``areas`` those of the boxes.

    >>> objects([[0, 0, 4, 5]], [1]).areas
    array([20.])
    """
    array = np.asarray(boxes, dtype=np.float64).reshape(-1, 4)
    count = len(array)

    def column(values: Any, default: Any, kind: Any) -> np.ndarray:
        return np.asarray(default if values is None else values, dtype=kind).reshape(count)

    return Objects(
        array,
        column(labels, None, np.int64),
        column(scores, np.ones(count), np.float64),
        column(ignored, np.zeros(count), bool),
        column(areas, array[:, 2] * array[:, 3], np.float64),
    )


def as_arrays(images: Sequence[Objects]) -> Dict[str, np.ndarray]:
    """Detections of many images as four arrays, to be kept in a file."""
    counts = [len(one.labels) for one in images]
    empty = objects([], [])
    rows = [*images, empty]
    return dict(
        image=np.repeat(np.arange(len(images)), counts),
        box=np.concatenate([one.boxes for one in rows]),
        label=np.concatenate([one.labels for one in rows]),
        score=np.concatenate([one.scores for one in rows]),
    )


def from_arrays(arrays: Dict[str, np.ndarray], images: int) -> List[Objects]:
    """The inverse of :func:`as_arrays`, in the order of each image.

    >>> some = [objects([[0, 0, 2, 2]], [1], [0.5]), objects([], [])]
    >>> [len(one.labels) for one in from_arrays(as_arrays(some), 2)]
    [1, 0]
    """
    order = np.argsort(arrays["image"], kind="stable")
    ends = np.searchsorted(arrays["image"][order], np.arange(images + 1))
    found = []
    for start, end in zip(ends[:-1], ends[1:]):
        rows = order[start:end]
        found.append(objects(*(arrays[name][rows] for name in ("box", "label", "score"))))
    return found
