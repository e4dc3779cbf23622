"""The bundled task that can tell where a method looks: few small digits among many letters.

Most of a picture is empty, objects have many sizes, and letters, which look like parts of digits,
outnumber them. Every object is annotated, with 10 + 12 classes: a teacher learns them all, and its
maps are full of what a student of the ten digits alone does not need. Three splits: ``train``,
``val`` to report, ``tune`` to choose weights by; no source digit and no font of the letters is in
``train`` and in another.
"""

import json
from colorsys import hsv_to_rgb
from pathlib import Path
from typing import Any, Callable, Dict, List, NamedTuple, Optional, Sequence, Tuple, Union

import numpy as np
from numpy.typing import NDArray

from freekd.checks import check_choice
from freekd.datasets.dataset_folder import is_complete, new_folder
from freekd.datasets.digit_scenes import (
    PastedDigit,
    background,
    digit_alpha,
    ink_colour,
    paste,
)
from freekd.datasets.digits import (
    DIGIT_CLASSES,
    check_parameters,
    coco,
    load_sources,
    split_digits,
)
from freekd.datasets.letters import FONTS, LETTERS, load_letters

SCENE_CLASSES: Tuple[str, ...] = (*DIGIT_CLASSES, *LETTERS)
"""Class names in label order: the digits first."""

VERSION = 1
"""Raised whenever the same parameters would give other pictures."""

INKS = ("pale", "coloured")  # of letters
_MAX_ANGLE = 12.0  # degrees, either way
_TEST_FONTS = 3  # of FONTS: not in the training pictures


class Things(NamedTuple):
    """What may be pasted: cells (N, 8, 8), their labels (N,), and which of them this split has."""

    cells: NDArray[Any]
    labels: NDArray[Any]
    pool: NDArray[Any]


def make_scenes(
    out_dir: Union[str, Path],
    num_train: int = 500,
    num_val: int = 150,
    num_tune: int = 150,
    size: int = 160,
    seed: int = 0,
    digit_sizes: Tuple[int, int] = (12, 36),
    max_digits: int = 3,
    letters: Tuple[int, int] = (4, 7),
    letter_ink: str = "pale",
    force: bool = False,
    progress: Optional[Callable[[int, int], None]] = None,
) -> Path:
    """Make the scenes, or leave them alone where they already are.

    The layout is :func:`freekd.datasets.make_digits`'s with a third split. The same parameters give
    the same bytes with the same Pillow, which draws the letters.

    Args:
        out_dir: the folder to make.
        num_train, num_val, num_tune: numbers of pictures.
        size: side of the square pictures in pixels.
        seed: 0 to 2**32 - 1. It also splits digits and fonts.
        digit_sizes: smallest and largest side of an enlarged 8x8 cell; the logarithm of the side is
            uniform between them.
        max_digits: a picture has 1 to this many digits.
        letters: fewest and most letters in a picture.
        letter_ink: ``pale``, as the digits have; ``coloured``: saturated, told from a digit at a
            glance.
        force: replace such a folder made with other parameters, or a damaged one.
        progress: called as ``progress(done, total)`` after every picture.

    Returns:
        The folder.

    Raises:
        ValueError: a parameter is out of range.
        FileExistsError: the folder holds something else, other parameters, or too few files.
        ModuleNotFoundError: scikit-learn, matplotlib or pycocotools is not installed.
    """
    counts = {"train": int(num_train), "val": int(num_val), "tune": int(num_tune)}
    parameters: Dict[str, Any] = {
        "scenes_version": VERSION,
        **{f"num_{split}": count for split, count in counts.items()},
        "size": int(size),
        "seed": int(seed),
        "digit_sizes": [int(side) for side in digit_sizes],
        "max_digits": int(max_digits),
        "letters": [int(count) for count in letters],
        "letter_ink": letter_ink,
    }
    check_parameters(parameters)
    check_choice("letter_ink", letter_ink, INKS)
    least, most = parameters["letters"]
    if not 0 <= least <= most or num_tune < 1:
        raise ValueError(
            f"expected letters of 0 <= fewest <= most and num_tune of at least 1, got "
            f"{least}, {most} and {num_tune}"
        )
    out = Path(out_dir)
    files = {f"{split}/*.png": count for split, count in counts.items()}
    files["annotations/*.json"] = len(counts)
    if is_complete(out, parameters, files, force):
        return out
    cells, labels, photos = load_sources()
    glyphs, kinds, fonts = load_letters()
    digits, hands = split_digits(labels, parameters["seed"]), _split_fonts(parameters["seed"])
    total = sum(counts.values())
    with new_folder(out, parameters, files, force, total, progress) as draft:
        for number, (split, count) in enumerate(counts.items()):
            part = "train" if split == "train" else "val"
            mine = Things(cells, labels, digits[part])
            theirs = Things(
                glyphs, kinds + len(DIGIT_CLASSES), np.flatnonzero(np.isin(fonts, hands[part]))
            )
            scenes = []
            for index in draft.each(range(count)):
                rng = np.random.RandomState([parameters["seed"], number, index])
                picture, objects = draw_clutter(
                    rng,
                    mine,
                    theirs,
                    photos,
                    int(size),
                    digit_sizes,
                    max_digits,
                    letters,
                    letter_ink,
                )
                draft.add_picture(picture, f"{split}/{index:06d}.png")
                scenes.append(objects)
            text = json.dumps(coco(split, scenes, parameters, SCENE_CLASSES))
            draft.add_text(text, f"annotations/{split}.json")
    return out


def saturated_ink(rng: np.random.RandomState) -> NDArray[Any]:
    """A colour, where digits are pale: (3,) float64 RGB, 0 to 255."""
    return np.array(hsv_to_rgb(rng.rand(), rng.uniform(0.85, 1.0), rng.uniform(0.7, 1.0))) * 255.0


def _split_fonts(seed: int) -> Dict[str, NDArray[Any]]:
    """Numbers of fonts: most for the training pictures, the others for the rest."""
    order = np.random.RandomState(seed).permutation(len(FONTS))
    return {"train": order[_TEST_FONTS:], "val": order[:_TEST_FONTS]}


def draw_clutter(
    rng: np.random.RandomState,
    digits: Things,
    letters: Things,
    photos: Sequence[NDArray[Any]],
    size: int,
    sides: Tuple[int, int],
    max_digits: int,
    letter_counts: Tuple[int, int],
    letter_ink: str = "pale",
) -> Tuple[NDArray[Any], List[PastedDigit]]:
    """Draw one picture and say what is on it.

    Args:
        rng: source of every choice.
        digits, letters: what may be pasted.
        photos: (H, W, 3) uint8 RGB pictures to cut backgrounds from.
        size: side of the picture in pixels.
        sides: smallest and largest side of a pasted cell in pixels.
        max_digits, letter_counts, letter_ink: as :func:`make_scenes`; one that finds no place is
            left out.

    Returns:
        The picture, (size, size, 3) uint8 RGB, and all that is on it: at least one digit.
    """
    picture = background(rng, photos, size)
    objects: List[PastedDigit] = []
    boxes: List[Tuple[int, int, int, int]] = []
    others = [digits] * rng.randint(max_digits) + [letters] * rng.randint(
        letter_counts[0], letter_counts[1] + 1
    )
    for position in [-1, *rng.permutation(len(others))]:  # a digit first: there is always place
        things = digits if position < 0 else others[position]
        index = int(things.pool[rng.randint(len(things.pool))])
        side = float(np.exp(rng.uniform(np.log(sides[0]), np.log(sides[1]))))
        alpha = digit_alpha(things.cells[index], side, rng.uniform(-_MAX_ANGLE, _MAX_ANGLE))
        ink = saturated_ink if things is letters and letter_ink == "coloured" else ink_colour
        paste(rng, picture, objects, boxes, alpha, int(things.labels[index]), index, ink)
    return np.rint(picture).astype(np.uint8), objects
