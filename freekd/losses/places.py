"""Where the boxes of a batch lie on a map that covers its images."""

from typing import Any, List, Mapping, Optional, Sequence, Tuple

import torch
from torch import Tensor

from freekd.checks import FeatureError

from .step import Step

Boxes = Sequence[Sequence[float]]  # (x1, y1, x2, y2) in pixels, of one image


def cells(first: float, last: float, scale: float, count: int) -> Tuple[int, int]:
    """The cells of a row that the pixels from ``first`` to ``last`` touch, at least one.

    Args:
        first, last: in pixels.
        scale: cells per pixel.
        count: of the row's cells.

    Returns:
        The first one, and the one after the last.

    >>> cells(8.0, 20.0, scale=1 / 8, count=4)
    (1, 3)
    """
    start = min(max(int(first * scale // 1), 0), count - 1)
    return start, min(max(-int(-last * scale // 1), start + 1), count)


def box_map(boxes: Boxes, image: Sequence[int], size: Sequence[int]) -> Tensor:
    """1 in the cells that a box touches, 0 elsewhere: (H, W) in float32 on the CPU.

    Args:
        boxes: of one image.
        image: (height, width) of the images as the model gets them, padding included, for that is
            what the map covers.
        size: (H, W).

    >>> box_map([(0, 0, 16, 8)], image=(16, 32), size=(2, 4)).tolist()
    [[1.0, 1.0, 0.0, 0.0], [0.0, 0.0, 0.0, 0.0]]
    """
    inside = torch.zeros(tuple(size))
    for x1, y1, x2, y2 in boxes:
        top, bottom = cells(y1, y2, size[0] / image[0], size[0])
        left, right = cells(x1, x2, size[1] / image[1], size[1])
        inside[top:bottom, left:right] = 1
    return inside


def batch_boxes(step: Optional[Step], name: str) -> Tuple[List[List[List[float]]], Tuple[int, int]]:
    """The boxes of each image, and (height, width) of the batch, padding included.

    Args:
        step: of this training step.
        name: of the config's entry, for errors.

    Raises:
        FeatureError: the batch has no boxes, or no images.
    """
    data: Mapping[str, Any] = {} if step is None else step.data
    boxes, img = data.get("gt_bboxes"), data.get("img")
    if boxes is None:
        raise _no_boxes(name, f"the images, got {sorted(data)}")
    if not torch.is_tensor(img):
        came = f"{type(img).__name__} as img" if "img" in data else f"{sorted(data)}"
        raise FeatureError(
            f"{name}: expected a batch with the images (img), one tensor (N, C, H, W), as the "
            f"boxes are in its pixels; got {came}. Let the pipeline collect img, and train with "
            "FreeKDDistiller, which hands it on"
        )
    return [one.detach().cpu().tolist() for one in boxes], (img.shape[-2], img.shape[-1])


def check_images(boxes: Sequence[Boxes], feat: Tensor, name: str) -> None:
    """Raise FeatureError unless the boxes are those of the images of a map (N, C, H, W)."""
    if len(boxes) != len(feat):
        raise _no_boxes(name, f"{len(feat)} images, got the boxes of {len(boxes)} images")


def _no_boxes(name: str, of_and_came: str) -> FeatureError:
    return FeatureError(
        f"{name}: expected a batch with the boxes (gt_bboxes) of {of_and_came}. It is for "
        "detection, on maps of whole images: tap the neck or the backbone, load the boxes in the "
        "pipeline, and train with FreeKDDistiller, which hands them on"
    )
