"""The bundled classification task: one handwritten digit on a photograph a picture, as folders.

Made like the detection task of ``digits.py``, from the same files inside scikit-learn: each of the
1797 source digits is drawn twice, turned, over half of another digit of its split or none, each in
a random ink, on a random crop. 80 of 100 digits of each class are for training, the others for
validation. A folder for each class is a form that mmcls's ``CustomDataset`` reads, and
torchvision's ``ImageFolder`` too.
"""

from pathlib import Path
from typing import Any, Callable, Dict, Optional, Tuple, Union

import numpy as np

from freekd.datasets.dataset_folder import is_complete, new_folder
from freekd.datasets.digit_scenes import draw_among_pieces
from freekd.datasets.digits import DIGIT_CLASSES, load_sources, split_digits

GENERATOR_VERSION = 2
"""Raised whenever the same parameters would give other pictures."""


def make_digit_images(
    out_dir: Union[str, Path],
    num_train: Optional[int] = None,
    num_val: Optional[int] = None,
    size: int = 32,
    seed: int = 0,
    digit_sizes: Tuple[int, int] = (14, 21),
    max_angle: float = 20.0,
    max_pieces: int = 1,
    views: int = 2,
    force: bool = False,
    progress: Optional[Callable[[int, int], None]] = None,
) -> Path:
    """Make the folders, or leave them alone where they already are.

    The same parameters give the same bytes. The folder holds ``{train,val}/{0..9}/0000_0.png``,
    where the numbers are the digit's row in ``load_digits`` and the view, and ``dataset.json`` (the
    parameters and a SHA-256 of all pixels).

    Args:
        out_dir: the folder to make; its parents are made too.
        num_train, num_val: how many pictures; None: all that the split has, 2876 and 718.
        size: side of the square pictures in pixels.
        seed: 0 to 2**32 - 1; of the split, 80 to 20 in every class, and of the pictures.
        digit_sizes: smallest and largest side of an enlarged 8x8 digit in pixels.
        max_angle: degrees that a digit is turned at most, either way.
        max_pieces: a picture has 0 to this many halves of other digits, under its own.
        views: how often each digit is drawn.
        force: replace a folder made with other parameters, or a damaged one.
        progress: called as ``progress(done, total)`` after every picture.

    Returns:
        The folder, as a ``Path``.

    Raises:
        ValueError: a parameter is out of range.
        FileExistsError: the folder holds something else, other parameters, or too few files.
        ModuleNotFoundError: scikit-learn is not installed.
    """
    low, high = (int(side) for side in digit_sizes)
    if not 8 <= low <= high:
        raise ValueError(f"digit_sizes must be 8 <= low <= high, got {low}, {high}")
    if size < 1.3 * high + 4:
        raise ValueError(
            f"size {size} is too small for turned digits of {high} pixels: give a size of at least "
            f"{int(1.3 * high + 5)}, or smaller digit_sizes"
        )
    least = (("max_angle", max_angle, 0), ("max_pieces", max_pieces, 0), ("views", views, 1))
    for name, value, least_value in least:
        if value < least_value:
            raise ValueError(f"{name} must be at least {least_value}, got {value}")
    if not 0 <= seed < 2**32:
        raise ValueError(f"seed must be 0 to 2**32 - 1, got {seed}")
    cells, labels, photos = load_sources()
    pools = {}
    for split, count in (("train", num_train), ("val", num_val)):
        pool = np.random.RandomState([seed, 1]).permutation(split_digits(labels, seed)[split])
        asked = [(int(index), view) for view in range(views) for index in pool]
        if count is not None and not 1 <= count <= len(asked):
            raise ValueError(f"num_{split} must be from 1 to {len(asked)}, got {count}")
        pools[split] = asked[:count]
    parameters: Dict[str, Any] = {
        "task": "classification",
        "generator_version": GENERATOR_VERSION,
        "num_train": len(pools["train"]),
        "num_val": len(pools["val"]),
        "size": int(size),
        "seed": int(seed),
        "digit_sizes": [low, high],
        "max_angle": float(max_angle),
        "max_pieces": int(max_pieces),
        "views": int(views),
    }
    out = Path(out_dir)
    files = {f"{split}/*/*.png": len(pool) for split, pool in pools.items()}
    if is_complete(out, parameters, files, force):
        return out
    total = sum(map(len, pools.values()))
    with new_folder(out, parameters, files, force, total, progress) as draft:
        for number, (split, pool) in enumerate(pools.items()):
            for name in DIGIT_CLASSES:  # a class without a picture is a class all the same
                (draft.folder / split / name).mkdir(parents=True)
            others = split_digits(labels, seed)[split]
            for index, view in draft.each(pool):
                rng = np.random.RandomState([seed, 2 + number, index, view])
                picture = draw_among_pieces(
                    rng, cells, index, others, photos, size, (low, high), max_angle, max_pieces
                )
                name = DIGIT_CLASSES[int(labels[index])]
                draft.add_picture(picture, f"{split}/{name}/{index:04d}_{view}.png")
    return out
