"""The bundled segmentation task: handwritten digits on photographs, and a label for each pixel.

Made like the detection task of ``digits.py``, from the same files inside scikit-learn. Label 0 is
the background, label d + 1 the digit d. Pictures and label maps lie in two folders of equal names,
as mmseg's ``CustomDataset`` reads them.
"""

from pathlib import Path
from typing import Any, Callable, Optional, Sequence, Tuple, Union

import numpy as np
from numpy.typing import NDArray

from freekd.datasets.dataset_folder import is_complete, new_folder
from freekd.datasets.digit_scenes import PastedDigit, draw_scene
from freekd.datasets.digits import (
    DIGIT_CLASSES,
    checked_parameters,
    load_sources,
    split_digits,
)

MAP_CLASSES: Tuple[str, ...] = ("background", *DIGIT_CLASSES)
"""Class names in the order of the labels."""

GENERATOR_VERSION = 1
"""Raised whenever the same parameters would give other pictures."""


def make_digit_maps(
    out_dir: Union[str, Path],
    num_train: int = 800,
    num_val: int = 200,
    size: int = 48,
    seed: int = 0,
    digit_sizes: Tuple[int, int] = (22, 32),
    max_digits: int = 2,
    force: bool = False,
    progress: Optional[Callable[[int, int], None]] = None,
) -> Path:
    """Make the folders, or leave them alone where they already are.

    The same parameters give the same bytes. Picture ``i`` of a split depends on the seed and on
    ``i`` only, so a longer split starts with the shorter one. The folder holds
    ``img/{train,val}/000000.png``, ``ann/{train,val}/000000.png`` (one channel of labels) and
    ``dataset.json`` (the parameters and a SHA-256 of all pixels and labels).

    Args:
        out_dir: the folder to make; its parents are made too.
        num_train: number of training pictures.
        num_val: number of validation pictures.
        size: side of the square pictures in pixels.
        seed: 0 to 2**32 - 1. It also splits the source digits, 80 to 20 in every class.
        digit_sizes: smallest and largest side of an enlarged 8x8 digit in pixels.
        max_digits: a picture has 1 to this many digits.
        force: replace a folder made with other parameters, or a damaged one.
        progress: called as ``progress(done, total)`` after every picture.

    Returns:
        The folder, as a ``Path``.

    Raises:
        ValueError: a parameter is out of range.
        FileExistsError: the folder holds something else, other parameters, or too few files.
        ModuleNotFoundError: scikit-learn is not installed.
    """
    counts = {"train": int(num_train), "val": int(num_val)}
    low, high = (int(side) for side in digit_sizes)
    parameters = checked_parameters(
        GENERATOR_VERSION, num_train, num_val, size, seed, (low, high), max_digits, "segmentation"
    )
    out = Path(out_dir)
    files = {f"{kind}/{s}/*.png": count for kind in ("img", "ann") for s, count in counts.items()}
    if is_complete(out, parameters, files, force):
        return out
    cells, labels, photos = load_sources()
    pools = split_digits(labels, parameters["seed"])
    total = sum(counts.values())
    with new_folder(out, parameters, files, force, total, progress) as draft:
        for number, (split, count) in enumerate(counts.items()):
            for index in draft.each(range(count)):
                rng = np.random.RandomState([parameters["seed"], number, index])
                picture, digits = draw_scene(
                    rng, cells, labels, pools[split], photos, int(size), (low, high), max_digits
                )
                found = label_map(digits, int(size))
                for kind, pixels in (("img", picture), ("ann", found)):
                    draft.add_picture(pixels, f"{kind}/{split}/{index:06d}.png")
    return out


def label_map(digits: Sequence[PastedDigit], size: int) -> NDArray[Any]:
    """The labels of a picture's pixels: 0, or 1 more than the digit that is seen there.

    Args:
        digits: with masks (size, size) that do not overlap.

    Returns:
        (size, size) uint8.

    >>> label_map([PastedDigit(7, 0, np.array([[True, False], [False, False]]))], 2)
    array([[8, 0],
           [0, 0]], dtype=uint8)
    """
    found = np.zeros((size, size), dtype=np.uint8)
    for digit in digits:
        found[digit.mask] = digit.label + 1
    return found
