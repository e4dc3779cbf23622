"""How alike two models' masks are: the IoU of each prompt's masks, its mean and standard error."""

from typing import Any, Dict, List, Sequence, Tuple

import numpy as np
from numpy.typing import NDArray

Rle = Dict[str, Any]


def mask_ious(found: Sequence[Rle], expected: Sequence[Rle]) -> NDArray[np.float64]:
    """The IoU of each mask with the one of its place; 1 where both are empty.

    Args:
        found, expected: (K) masks in COCO's run-length form, pair by pair of one size.

    Returns:
        (K,).
    """
    from pycocotools import mask as coco_mask

    values = np.ones(len(found))
    for place, (one, other) in enumerate(zip(found, expected)):
        one, other = _with_bytes(one), _with_bytes(other)
        either = coco_mask.area(coco_mask.merge([one, other], intersect=False))
        if either:
            both = coco_mask.area(coco_mask.merge([one, other], intersect=True))
            values[place] = float(both) / float(either)
    return values


def _with_bytes(rle: Rle) -> Rle:
    counts = rle["counts"]
    return dict(rle, counts=counts.encode() if isinstance(counts, str) else counts)


def mean_with_error(ious: Sequence[NDArray[np.float64]]) -> Tuple[float, float]:
    """The mean over all prompts of all images, and its standard error over images.

    Prompts of one image are alike, so that the images are what is drawn: with n_i prompts of sum
    S_i in image i of m, and the mean M = sum S_i / sum n_i, the error is that of a ratio,

        sqrt( m / (m - 1) sum (S_i - M n_i)^2 ) / sum n_i.

    Args:
        ious: of each image, (n_i,).

    Returns:
        (mean, standard error); nan where there is nothing to take them of.

    >>> [round(x, 4) for x in mean_with_error([np.array([1.0, 0.5]), np.array([0.5, 0.0])])]
    [0.5, 0.25]
    """
    counts = np.array([len(values) for values in ious], dtype=np.float64)
    sums = np.array([values.sum() for values in ious], dtype=np.float64)
    total, images = counts.sum(), int((counts > 0).sum())
    if not total:
        return float("nan"), float("nan")
    mean = float(sums.sum() / total)
    if images < 2:
        return mean, float("nan")
    squares = float(((sums - mean * counts) ** 2).sum())
    return mean, float(np.sqrt(images / (images - 1) * squares) / total)


def scores_of(name: str, ious: List[NDArray[np.float64]]) -> Dict[str, float]:
    """The score ``name`` and ``name_standard_error``."""
    mean, error = mean_with_error(ious)
    return {name: mean, f"{name}_standard_error": error}
