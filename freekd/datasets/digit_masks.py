"""The bundled set of Segment Anything: handwritten digits on photographs, in SA-1B's layout.

Drawn like the detection task of ``digits.py``, from the same files inside scikit-learn, and cut to
pictures of different shapes. Each picture is a ``.jpg`` with a ``.json`` beside it: run-length
coded masks, boxes, and a point inside each mask.
"""

import json
from pathlib import Path
from typing import Any, Callable, Dict, List, Optional, Tuple, Union

import numpy as np
from numpy.typing import NDArray

from freekd.datasets.dataset_folder import is_complete, new_folder
from freekd.datasets.digit_scenes import draw_scene, tight_box
from freekd.datasets.digits import checked_parameters, load_sources, split_digits

GENERATOR_VERSION = 1
"""Raised whenever the same parameters would give other pictures."""

_QUALITY = 95  # of the JPEG files
_LEAST = 0.7  # of the side: how far a picture may be cut, either its rows or its columns
_PIXELS = 24  # of a mask, at least, after the cut


def make_digit_masks(
    out_dir: Union[str, Path],
    num_train: int = 400,
    num_val: int = 100,
    size: int = 128,
    seed: int = 0,
    digit_sizes: Tuple[int, int] = (28, 56),
    max_digits: int = 4,
    force: bool = False,
    progress: Optional[Callable[[int, int], None]] = None,
) -> Path:
    """Make the folders, or leave them alone where they already are.

    The same parameters give the same pixels and masks. Picture ``i`` of a split depends on the seed
    and on ``i`` only. The folder holds ``{train,val}/sa_000000.jpg`` and ``.json``, of digits that
    the splits do not share, lists of them, ``{train,val}.txt``, and ``dataset.json`` (the
    parameters and a SHA-256 of all pixels, before JPEG, and annotations).

    Args:
        out_dir: the folder to make; its parents are made too.
        num_train: number of training pictures.
        num_val: number of validation pictures.
        size: the longer side of the pictures in pixels; the other is 0.7 to 1 times as long.
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
        ModuleNotFoundError: scikit-learn or pycocotools is not installed.
    """
    counts = {"train": int(num_train), "val": int(num_val)}
    low, high = (int(side) for side in digit_sizes)
    parameters = checked_parameters(
        GENERATOR_VERSION,
        num_train,
        num_val,
        size,
        seed,
        (low, high),
        max_digits,
        "segment anything",
    )
    out = Path(out_dir)
    files = {f"{s}/*.{kind}": count for kind in ("jpg", "json") for s, count in counts.items()}
    files["*.txt"] = len(counts)
    if is_complete(out, parameters, files, force):
        return out
    cells, labels, photos = load_sources()
    pools = split_digits(labels, parameters["seed"])
    total = sum(counts.values())
    with new_folder(out, parameters, files, force, total, progress) as draft:
        for number, (split, count) in enumerate(counts.items()):
            folder = draft.folder / split
            folder.mkdir(parents=True)
            names = "".join(f"{split}/{_name(index)}\n" for index in range(count))
            (draft.folder / f"{split}.txt").write_text(names)
            for index in draft.each(range(count)):
                rng = np.random.RandomState([parameters["seed"], number, index])
                picture, digits = draw_scene(
                    rng, cells, labels, pools[split], photos, int(size), (low, high), max_digits
                )
                masks = [digit.mask for digit in digits]
                picture, masks = _cut(rng, picture, masks)
                text = json.dumps(_annotated(rng, index, picture, masks))
                path = folder / _name(index)
                _save_jpg(picture, path)
                path.with_suffix(".json").write_text(text)
                draft.digest.update(picture.tobytes() + text.encode())
    return out


def _cut(
    rng: np.random.RandomState, picture: NDArray[Any], masks: List[NDArray[Any]]
) -> Tuple[NDArray[Any], List[NDArray[Any]]]:
    """Fewer rows or fewer columns, where that leaves every mask something to see."""
    size = len(picture)
    side = rng.randint(int(_LEAST * size), size + 1)
    start = rng.randint(size - side + 1)
    part = slice(start, start + side)
    rows, columns = (part, slice(None)) if rng.randint(2) else (slice(None), part)
    cut = [mask[rows, columns] for mask in masks]
    if all(mask.sum() >= _PIXELS for mask in cut):
        return np.ascontiguousarray(picture[rows, columns]), cut
    return picture, masks


def _annotated(
    rng: np.random.RandomState, index: int, picture: NDArray[Any], masks: List[NDArray[Any]]
) -> Dict[str, Any]:
    """The ``.json`` of a picture. The quality scores that SA-1B has are 1: the masks are exact."""
    from pycocotools import mask as coco_mask

    height, width = picture.shape[:2]
    annotations = []
    for number, mask in enumerate(masks):
        found = coco_mask.encode(np.asfortranarray(mask.astype(np.uint8)))
        rows, columns = np.nonzero(mask)
        chosen = rng.randint(len(rows))
        annotations.append(
            {
                "id": 1000 * index + number,
                "segmentation": {"size": [height, width], "counts": found["counts"].decode()},
                "bbox": [float(value) for value in tight_box(mask)],
                "area": int(mask.sum()),
                "predicted_iou": 1.0,
                "stability_score": 1.0,
                "crop_box": [0.0, 0.0, float(width), float(height)],
                "point_coords": [[float(columns[chosen]), float(rows[chosen])]],
            }
        )
    return {
        "image": {
            "image_id": index, "width": width, "height": height,
            "file_name": _name(index),
        },
        "annotations": annotations,
    }  # fmt: skip


def _name(index: int) -> str:
    return f"sa_{index:06d}.jpg"


def _save_jpg(picture: NDArray[Any], path: Path) -> None:
    from PIL import Image

    Image.fromarray(picture).save(str(path), format="JPEG", quality=_QUALITY, subsampling=0)
