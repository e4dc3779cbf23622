"""The bundled detection task: handwritten digits on photographs, made on the spot.

Both sources are files inside the scikit-learn package (1797 digits of 8x8 pixels from UCI, two
photographs), so nothing is downloaded. ``digit_scenes.py`` draws one picture; this file makes the
folder: two splits with no source digit in common, as PNG files with COCO annotations (boxes and
run-length masks).
"""

import json
from pathlib import Path
from typing import Any, Callable, Dict, List, Optional, Sequence, Tuple, Union

import numpy as np
from numpy.typing import NDArray

from freekd.datasets.dataset_folder import is_complete, new_folder
from freekd.datasets.digit_scenes import PastedDigit, draw_scene, tight_box

DIGIT_CLASSES: Tuple[str, ...] = tuple(str(digit) for digit in range(10))
"""Class names in label order; the COCO category id of a class is its digit, 0 to 9."""

GENERATOR_VERSION = 2
"""Raised whenever the same parameters would give other pictures."""

SOURCES: List[Dict[str, str]] = [
    {
        "what": "digits",
        "name": "Optical Recognition of Handwritten Digits, test set (sklearn load_digits)",
        "creators": "E. Alpaydin, C. Kaynak (1998), UCI Machine Learning Repository",
        "licence": "CC BY 4.0, as UCI publishes its data sets",
        "url": "https://archive.ics.uci.edu/dataset/80",
    },
    {
        "what": "photograph china.jpg",
        "name": "sklearn load_sample_images",
        "creators": "danielbuechele, some rights reserved",
        "licence": "CC BY 2.0, https://creativecommons.org/licenses/by/2.0/",
        "url": "https://www.flickr.com/photos/danielbuechele/6061409035/",
    },
    {
        "what": "photograph flower.jpg",
        "name": "sklearn load_sample_images",
        "creators": "vultilion by its address (scikit-learn's note says danielbuechele), "
        "some rights reserved",
        "licence": "CC BY 2.0, https://creativecommons.org/licenses/by/2.0/",
        "url": "https://www.flickr.com/photos/vultilion/6056698931/",
    },
]
"""Where the pixels come from and under which terms; copied into every annotation file."""

_TRAIN_PART = 0.8  # of the source digits of each class
_NEEDS = "making the digits data set needs scikit-learn and pycocotools"
_INSTALL = "install them with: pip install 'freekd[data]'"


def make_digits(
    out_dir: Union[str, Path],
    num_train: int = 400,
    num_val: int = 100,
    size: int = 128,
    seed: int = 0,
    digit_sizes: Tuple[int, int] = (28, 56),
    max_digits: int = 3,
    force: bool = False,
    progress: Optional[Callable[[int, int], None]] = None,
) -> Path:
    """Make the digits data set, or leave it alone where it already is.

    The same parameters give the same bytes. Picture ``i`` of a split depends on the seed and on
    ``i`` only, so a longer split starts with the shorter one. The folder holds
    ``{train,val}/000000.png``, ``annotations/{train,val}.json`` (COCO; each annotation also has
    ``digit_index``, its row in ``load_digits``) and ``dataset.json`` (the parameters and a SHA-256
    of all pixels and annotations).

    Args:
        out_dir: the folder to make; its parents are made too.
        num_train: number of training pictures.
        num_val: number of validation pictures.
        size: side of the square pictures in pixels.
        seed: 0 to 2**32 - 1. It also splits the source digits, 80 to 20 in every class.
        digit_sizes: smallest and largest side of an enlarged 8x8 digit in pixels.
        max_digits: a picture has 1 to this many digits.
        force: replace a digits folder made with other parameters, or a damaged one.
        progress: called as ``progress(done, total)`` after every picture.

    Returns:
        The folder, as a ``Path``.

    Raises:
        ValueError: a parameter is out of range.
        FileExistsError: the folder holds something else, other parameters, or too few files.
        ModuleNotFoundError: scikit-learn or pycocotools is not installed.
    """
    counts = {"train": int(num_train), "val": int(num_val)}
    low, high = (int(side) for side in digit_sizes)
    parameters = checked_parameters(
        GENERATOR_VERSION, num_train, num_val, size, seed, (low, high), max_digits
    )
    out = Path(out_dir)
    files = {f"{split}/*.png": count for split, count in counts.items()}
    files["annotations/*.json"] = len(counts)
    if is_complete(out, parameters, files, force):
        return out
    try:
        import pycocotools.mask  # noqa: F401
    except ImportError as error:
        raise ModuleNotFoundError(f"{_NEEDS} ({error}); {_INSTALL}") from error
    cells, labels, photos = load_sources()
    pools = split_digits(labels, parameters["seed"])
    total = sum(counts.values())
    with new_folder(out, parameters, files, force, total, progress) as draft:
        for number, (split, count) in enumerate(counts.items()):
            scenes = []
            for index in draft.each(range(count)):
                rng = np.random.RandomState([parameters["seed"], number, index])
                picture, digits = draw_scene(
                    rng, cells, labels, pools[split], photos, int(size), (low, high), max_digits
                )
                draft.add_picture(picture, f"{split}/{_file_name(index)}")
                scenes.append(digits)
            text = json.dumps(coco(split, scenes, parameters))
            draft.add_text(text, f"annotations/{split}.json")
    return out


def split_digits(labels: NDArray[Any], seed: int) -> Dict[str, NDArray[Any]]:
    """Split the source digits, 80 to 20 in every class, by a seeded permutation.

    Args:
        labels: (N,) class of each source digit.
        seed: 0 to 2**32 - 1.

    Returns:
        ``{"train": indices, "val": indices}``, sorted, disjoint, together all of 0 to N - 1.

    Example:
        >>> parts = split_digits(np.repeat(np.arange(10), 5), seed=3)
        >>> len(parts["train"]), len(parts["val"])
        (40, 10)
    """
    rng = np.random.RandomState(seed)
    train, val = [], []
    for label in np.unique(labels):
        members = rng.permutation(np.flatnonzero(labels == label))
        cut = int(round(_TRAIN_PART * len(members)))
        train.append(members[:cut])
        val.append(members[cut:])
    return {"train": np.sort(np.concatenate(train)), "val": np.sort(np.concatenate(val))}


def checked_parameters(
    version: int,
    num_train: int,
    num_val: int,
    size: int,
    seed: int,
    digit_sizes: Tuple[int, int],
    max_digits: int,
    task: Optional[str] = None,
) -> Dict[str, Any]:
    """What ``dataset.json`` says of a set whose pictures are drawn by :func:`draw_scene`.

    Args:
        version: of the generator.
        num_train, num_val, size, seed, digit_sizes, max_digits: as in :func:`make_digits`.
        task: whose set it is; None: detection, whose files do not say so.

    Raises:
        ValueError: with the number and the range for whatever cannot be drawn.
    """
    parameters: Dict[str, Any] = {} if task is None else {"task": task}
    parameters.update(
        generator_version=version,
        num_train=int(num_train),
        num_val=int(num_val),
        size=int(size),
        seed=int(seed),
        digit_sizes=list(digit_sizes),
        max_digits=int(max_digits),
    )
    check_parameters(parameters)
    return parameters


def check_parameters(parameters: Dict[str, Any]) -> None:
    """Raise ValueError with the number and the range for whatever cannot be drawn."""
    for name in ("num_train", "num_val", "max_digits"):
        if parameters[name] < 1:
            raise ValueError(f"{name} must be at least 1, got {parameters[name]}")
    if not 0 <= parameters["seed"] < 2**32:
        raise ValueError(f"seed must be 0 to 2**32 - 1, got {parameters['seed']}")
    low, high = parameters["digit_sizes"]
    if not 8 <= low <= high:
        raise ValueError(f"digit_sizes must be 8 <= low <= high, got {low}, {high}")
    # A square turned by 12 degrees is 1.19 times as wide; its soft edge adds a few pixels.
    if parameters["size"] < 1.3 * high + 4:
        raise ValueError(
            f"size {parameters['size']} is too small for rotated digits of {high} pixels: give a "
            f"size of at least {int(1.3 * high + 5)}, or smaller digit_sizes"
        )


def load_sources() -> Tuple[NDArray[Any], NDArray[Any], Sequence[NDArray[Any]]]:
    """Digits (1797, 8, 8) with labels (1797,), and the two photographs (427, 640, 3) uint8."""
    try:
        from sklearn.datasets import load_digits, load_sample_images
    except ImportError as error:
        raise ModuleNotFoundError(f"{_NEEDS} ({error}); {_INSTALL}") from error
    digits = load_digits()
    return digits.images, digits.target, load_sample_images().images


def _file_name(index: int) -> str:
    return f"{index:06d}.png"


def coco(
    split: str,
    scenes: Sequence[Sequence[PastedDigit]],
    parameters: Dict[str, Any],
    classes: Sequence[str] = DIGIT_CLASSES,
) -> Dict[str, Any]:
    """The COCO dictionary of one split. Annotation ids start at 1: COCOeval reads 0 as 'none'."""
    from pycocotools import mask as coco_mask

    size = parameters["size"]
    version = parameters.get("scenes_version", GENERATOR_VERSION)
    annotations: List[Dict[str, Any]] = []
    for image_id, digits in enumerate(scenes):
        for digit in digits:
            rle = coco_mask.encode(np.asfortranarray(digit.mask.astype(np.uint8)))
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": image_id,
                    "category_id": digit.label,
                    "bbox": list(tight_box(digit.mask)),
                    "area": int(digit.mask.sum()),
                    "iscrowd": 0,
                    "segmentation": {"size": [size, size], "counts": rle["counts"].decode()},
                    "digit_index": digit.source_index,
                }
            )
    return {
        "info": {
            "description": f"freekd digits ({split}): UCI handwritten digits on photographs",
            "version": str(version),
            "parameters": parameters,
            "sources": SOURCES,
        },
        "licenses": [],
        "images": [
            {"id": index, "file_name": _file_name(index), "width": size, "height": size}
            for index in range(len(scenes))
        ],
        "annotations": annotations,
        "categories": [
            {"id": label, "name": name, "supercategory": "digit"}
            for label, name in enumerate(classes)
        ],
    }
