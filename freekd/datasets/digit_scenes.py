"""One picture of the bundled task: handwritten digits pasted on a crop of a photograph.

Only numpy, scipy and Pillow are used, and they are imported when a picture is drawn: importing
this file costs nothing. Every random choice comes from the ``numpy.random.RandomState`` that the
caller hands in. Its stream is frozen by numpy, unlike that of the newer ``Generator``, so a seed
keeps its meaning from one numpy to the next.
"""

from colorsys import hsv_to_rgb
from typing import Any, List, NamedTuple, Sequence, Tuple

import numpy as np
from numpy.typing import NDArray

# Luma of an RGB colour (ITU-R BT.601), used to keep the background darker than the ink.
_LUMA = np.array([0.299, 0.587, 0.114])
_BRIGHT = (70.0, 115.0)  # luma of the brightest tenth of a background, at most
_MAX_OVERLAP = 0.1  # shared area of two boxes, as a part of the smaller one
_MAX_ANGLE = 12.0  # degrees, either way
_PLACES_TRIED = 40


class PastedDigit(NamedTuple):
    """One digit of a scene.

    Attributes:
        label: the class, 0 to 9.
        source_index: its row in scikit-learn's ``load_digits``, 0 to 1796.
        mask: (size, size) bool, the pixels where it is seen (not those a later digit covers).
    """

    label: int
    source_index: int
    mask: NDArray[Any]


def digit_alpha(cell: NDArray[Any], side: float, angle: float) -> NDArray[Any]:
    """Draw an 8x8 digit larger and rotated, as an opacity map with smooth stroke edges.

    Args:
        cell: (8, 8) ink counts, 0 to 16, as in ``load_digits().images``.
        side: side of the enlarged 8x8 cell in pixels, before rotation.
        angle: counter-clockwise rotation in degrees.

    Returns:
        (h, w) float64 in [0, 1], cut to the pixels with opacity of at least one half, the
        instance mask, and a margin of one pixel for the soft edge.
    """
    from scipy.ndimage import map_coordinates

    margin = 3
    ink = np.pad(np.asarray(cell, dtype=np.float64) / 16.0, margin)
    reach = int(np.ceil(side * 0.75)) + 2
    rows, cols = np.mgrid[-reach : reach + 1, -reach : reach + 1].astype(np.float64)
    theta = np.deg2rad(angle)
    scale = 8.0 / side
    centre = (ink.shape[0] - 1) / 2.0
    source_rows = (np.cos(theta) * rows + np.sin(theta) * cols) * scale + centre
    source_cols = (-np.sin(theta) * rows + np.cos(theta) * cols) * scale + centre
    smooth = map_coordinates(ink, [source_rows, source_cols], order=3, mode="constant")
    # Counts of an 8x8 cell are blurred strokes; a soft threshold gives them an edge again.
    step = np.clip((smooth - 0.36) / 0.34, 0.0, 1.0)
    alpha = np.asarray(step * step * (3.0 - 2.0 * step))
    top, bottom, left, right = _tight(alpha >= 0.5)
    return alpha[max(top - 1, 0) : bottom + 1, max(left - 1, 0) : right + 1]


def background(
    rng: np.random.RandomState, photos: Sequence[NDArray[Any]], size: int
) -> NDArray[Any]:
    """Cut a random square of a random photograph, scale it to ``size`` and dim its bright parts.

    Args:
        rng: source of every choice.
        photos: (H, W, 3) uint8 RGB pictures.
        size: side of the result in pixels.

    Returns:
        (size, size, 3) float64, 0 to 255; 9 in 10 pixels have a luma of at most 115.
    """
    from PIL import Image

    photo = photos[rng.randint(len(photos))]
    short = min(photo.shape[:2])
    side = rng.randint(min(size, short), short + 1)
    top = rng.randint(photo.shape[0] - side + 1)
    left = rng.randint(photo.shape[1] - side + 1)
    crop = photo[top : top + side, left : left + side]
    if rng.rand() < 0.5:
        crop = crop[:, ::-1]
    picture = Image.fromarray(np.ascontiguousarray(crop)).resize(
        (size, size), Image.Resampling.BICUBIC
    )
    pixels = np.asarray(picture, dtype=np.float64)
    bright = float(np.percentile(pixels @ _LUMA, 90))
    return pixels * min(1.0, rng.uniform(*_BRIGHT) / max(bright, 1.0))


def ink_colour(rng: np.random.RandomState) -> NDArray[Any]:
    """Choose a bright, pale ink, which is legible on every background that this file makes.

    Args:
        rng: source of every choice.

    Returns:
        (3,) float64 RGB, 0 to 255; its luma is at least 165.
    """
    return np.array(hsv_to_rgb(rng.rand(), rng.uniform(0.0, 0.3), rng.uniform(0.9, 1.0))) * 255.0


def draw_scene(
    rng: np.random.RandomState,
    cells: NDArray[Any],
    labels: NDArray[Any],
    pool: NDArray[Any],
    photos: Sequence[NDArray[Any]],
    size: int,
    digit_sizes: Tuple[int, int],
    max_digits: int,
) -> Tuple[NDArray[Any], List[PastedDigit]]:
    """Draw one picture and say what is on it.

    Args:
        rng: source of every choice.
        cells: (N, 8, 8) all digits, ink counts 0 to 16.
        labels: (N,) their classes.
        pool: (M,) indices of the digits that this split may use.
        photos: (H, W, 3) uint8 RGB pictures to cut backgrounds from.
        size: side of the picture in pixels.
        digit_sizes: smallest and largest side of an enlarged digit in pixels, both included.
        max_digits: 1 to this many digits are tried; one that finds no free place is left out.

    Returns:
        The picture, (size, size, 3) uint8 RGB, and its digits, at least one.
    """
    picture = background(rng, photos, size)
    digits: List[PastedDigit] = []
    boxes: List[Tuple[int, int, int, int]] = []
    for _ in range(rng.randint(1, max_digits + 1)):
        index = int(pool[rng.randint(len(pool))])
        side = rng.uniform(digit_sizes[0], digit_sizes[1])
        alpha = digit_alpha(cells[index], side, rng.uniform(-_MAX_ANGLE, _MAX_ANGLE))
        height, width = alpha.shape
        for _ in range(_PLACES_TRIED):
            top = rng.randint(size - height + 1)
            left = rng.randint(size - width + 1)
            box = (top, top + height, left, left + width)
            if all(_overlap(box, other) <= _MAX_OVERLAP for other in boxes):
                break
        else:
            continue
        _paste(rng, picture, alpha, top, left)
        mask = np.zeros((size, size), dtype=bool)
        mask[top : top + height, left : left + width] = alpha >= 0.5
        digits = [old._replace(mask=old.mask & ~mask) for old in digits]
        digits.append(PastedDigit(int(labels[index]), index, mask))
        boxes.append(box)
    return np.rint(picture).astype(np.uint8), digits


def draw_among_pieces(
    rng: np.random.RandomState,
    cells: NDArray[Any],
    index: int,
    pool: NDArray[Any],
    photos: Sequence[NDArray[Any]],
    size: int,
    digit_sizes: Tuple[int, int],
    max_angle: float,
    max_pieces: int,
) -> NDArray[Any]:
    """Draw one whole digit over halves of others.

    Args:
        rng: source of every choice.
        cells: (N, 8, 8) all digits, ink counts 0 to 16.
        index: the digit.
        pool: (M,) indices of the digits of which there may be halves.
        photos: (H, W, 3) uint8 RGB pictures to cut backgrounds from.
        size: side of the picture in pixels.
        digit_sizes: smallest and largest side of an enlarged digit in pixels, both included.
        max_angle: degrees that the digit is turned at most, either way; halves lie any way.
        max_pieces: 0 to this many halves.

    Returns:
        (size, size, 3) uint8 RGB.
    """
    picture = background(rng, photos, size)
    low, high = digit_sizes
    for _ in range(rng.randint(max_pieces + 1)):
        other = cells[int(pool[rng.randint(len(pool))])]
        alpha = digit_alpha(other, rng.uniform(low, high), rng.uniform(-180.0, 180.0))
        height, width = ((side + 1) // 2 for side in alpha.shape)
        cuts = (alpha[:height], alpha[-height:], alpha[:, :width], alpha[:, -width:])
        piece = cuts[rng.randint(len(cuts))]
        places = [rng.randint(size - side + 1) for side in piece.shape]
        _paste(rng, picture, piece, *places)
    alpha = digit_alpha(cells[index], rng.uniform(low, high), rng.uniform(-max_angle, max_angle))
    top, left = (rng.randint(size - side + 1) for side in alpha.shape)
    _paste(rng, picture, alpha, top, left)
    return np.rint(picture).astype(np.uint8)


def _paste(
    rng: np.random.RandomState, picture: NDArray[Any], alpha: NDArray[Any], top: int, left: int
) -> None:
    """Put ink of a random colour on a picture, in place, where ``alpha`` is not 0."""
    patch = picture[top : top + alpha.shape[0], left : left + alpha.shape[1]]
    ink = ink_colour(rng)
    opacity = alpha[..., None] * rng.uniform(0.9, 1.0)
    patch[...] = patch * (1.0 - opacity) + ink * opacity


def tight_box(mask: NDArray[Any]) -> Tuple[int, int, int, int]:
    """Smallest box around the pixels of a mask, as COCO writes it.

    Args:
        mask: (H, W) bool with at least one pixel set.

    Returns:
        ``(x, y, width, height)`` in pixels.

    Example:
        >>> mask = np.zeros((4, 5), dtype=bool)
        >>> mask[1:3, 2:5] = True
        >>> tight_box(mask)
        (2, 1, 3, 2)
    """
    top, bottom, left, right = _tight(mask)
    return left, top, right - left, bottom - top


def _tight(mask: NDArray[Any]) -> Tuple[int, int, int, int]:
    """First and one-past-last row, then column, of the pixels that are set."""
    rows = np.flatnonzero(mask.any(axis=1))
    cols = np.flatnonzero(mask.any(axis=0))
    if not rows.size:
        raise ValueError("expected a mask with at least one pixel set, got an empty one")
    return int(rows[0]), int(rows[-1]) + 1, int(cols[0]), int(cols[-1]) + 1


def _overlap(one: Tuple[int, int, int, int], other: Tuple[int, int, int, int]) -> float:
    """Shared area of two boxes (top, bottom, left, right) as a part of the smaller box."""
    height = min(one[1], other[1]) - max(one[0], other[0])
    width = min(one[3], other[3]) - max(one[2], other[2])
    areas = [(b[1] - b[0]) * (b[3] - b[2]) for b in (one, other)]
    return max(height, 0) * max(width, 0) / min(areas)
