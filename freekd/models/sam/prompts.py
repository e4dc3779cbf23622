"""From masks to prompts and targets: the point, the box that is moved, the mask on a coarse grid.

Numpy alone; the random numbers are the caller's, so that a loader repeats them.
"""

from typing import Tuple

import numpy as np
from numpy.typing import NDArray

JITTER, MOST = 0.1, 20.0  # how far a box's side moves: share of its length, and pixels at most
STRIDE = 4  # pixels of the input for one of the decoder's masks


def pixel_of(mask: NDArray[np.bool_], u: float) -> Tuple[int, int]:
    """A pixel of a mask, uniformly for a uniform u: (x, y).

    Number min(floor(u n), n - 1) of its n pixels, row after row.

    >>> pixel_of(np.array([[False, True], [True, True]]), 0.5)  # 1 of (1, 0), (0, 1), (1, 1)
    (0, 1)
    """
    rows, columns = np.nonzero(mask)
    number = min(int(np.floor(u * len(rows))), len(rows) - 1)
    return int(columns[number]), int(rows[number])


def box_of(mask: NDArray[np.bool_]) -> NDArray[np.float64]:
    """(x_min, y_min, x_max, y_max) of a mask's pixels, the last ones included.

    >>> box_of(np.array([[False, True, True], [False, True, False]])).tolist()
    [1.0, 0.0, 2.0, 1.0]
    """
    columns, rows = np.flatnonzero(mask.any(0)), np.flatnonzero(mask.any(1))
    return np.array([columns[0], rows[0], columns[-1], rows[-1]], dtype=np.float64)


def moved_box(
    box: NDArray[np.float64], z: NDArray[np.float64], height: int, width: int
) -> NDArray[np.float64]:
    """A box as a person would draw it: each coordinate moves by clip(0.1 side z, -20, 20).

    Args:
        box: (4,), as :func:`box_of` gives it.
        z: (4,), normal.
        height, width: of the image, without padding; the box stays inside.

    >>> moved_box(np.array([10., 10., 30., 50.]), np.array([1., -1., 9., 0.]), 60, 40).tolist()
    [12.0, 6.0, 39.0, 50.0]
    """
    side = np.tile([box[2] - box[0], box[3] - box[1]], 2)
    moved = box + np.clip(JITTER * side * z, -MOST, MOST)
    return np.clip(moved, 0, np.tile([width - 1, height - 1], 2))


def low_resolution(masks: NDArray[np.bool_], size: int, stride: int = STRIDE) -> NDArray[np.bool_]:
    """The targets of masks: each pixel of the coarse grid is true where half of its block is.

    Args:
        masks: (B, h, w), of the image without padding.
        size: side of the padded input.
        stride: side of a block.

    Returns:
        (B, size / stride, size / stride).
    """
    count, height, width = masks.shape
    padded = np.zeros((count, size, size), dtype=np.uint8)
    padded[:, :height, :width] = masks
    blocks = padded.reshape(count, size // stride, stride, size // stride, stride)
    return blocks.sum((2, 4), dtype=np.int64) * 2 >= stride * stride


def innermost_pixel(mask: NDArray[np.bool_]) -> Tuple[int, int]:
    """The pixel of a mask that is farthest from its edge, and from the image's: (x, y)."""
    import cv2

    padded = np.pad(mask.astype(np.uint8), 1)
    distance = cv2.distanceTransform(padded, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)[1:-1, 1:-1]
    row, column = np.unravel_index(int(distance.argmax()), distance.shape)
    return int(column), int(row)
