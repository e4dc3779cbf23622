"""Lists of the images of a folder in SA-1B's layout: which are trained on, which are held out."""

import hashlib
import os
from pathlib import Path
from typing import Dict, Iterator, List

from freekd.fileio import atomic_write_text

SHARE, MOST = 0.01, 500


def place_of(name: str) -> float:
    """A number from 0 to 1 that a file's name alone decides, whatever lies beside it.

    >>> 0 <= place_of("sa_1.jpg") < 1, place_of("a/sa_1.jpg") == place_of("b/sa_1.jpg")
    (True, True)
    """
    digest = hashlib.sha256(os.path.basename(name).encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64


def images_with_masks(root: str) -> Iterator[str]:
    """The paths, in ``root``, of images with a ``.json`` beside them, folder by folder, sorted."""
    for folder, inner, names in os.walk(root):
        inner.sort()
        there = set(names)
        for name in sorted(names):
            stem, suffix = os.path.splitext(name)
            if suffix.lower() in (".jpg", ".jpeg", ".png") and f"{stem}.json" in there:
                yield os.path.relpath(os.path.join(folder, name), root)


def write_lists(root: str, out: str, share: float = SHARE, most: int = MOST) -> Dict[str, int]:
    """Write ``train.txt`` and ``val.txt``: no image is in both, now or with more images later.

    Args:
        root: the folder of the images.
        out: the folder of the lists.
        share: of the images is held out, by :func:`place_of`.
        most: of those are in the list, the ones of the smallest number.

    Returns:
        How many each has.

    Raises:
        ValueError: no image with a ``.json`` beside it, or none in one of the lists.
    """
    if not 0 < share < 1:
        raise ValueError(f"--share: expected a number between 0 and 1, got {share}.")
    if most < 1:
        raise ValueError(f"--most: expected 1 or more, got {most}.")
    lists: Dict[str, List[str]] = dict(train=[], val=[])
    for name in images_with_masks(root):
        lists["val" if place_of(name) < share else "train"].append(name)
    lists["val"] = sorted(sorted(lists["val"], key=place_of)[:most])
    for split, names in lists.items():
        if not names:
            raise ValueError(
                f"{root}: expected images with a .json beside each, got none for {split}.txt. Is "
                "it a folder in SA-1B's layout? Of a small one hold out more: --share 0.2"
            )
    for split, names in lists.items():
        atomic_write_text(Path(out) / f"{split}.txt", "".join(f"{name}\n" for name in names))
    return {split: len(names) for split, names in lists.items()}
