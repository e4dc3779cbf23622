"""Steps of mmdet's pipelines for data in SA-1B's layout: masks, training prompts, test prompts."""

from typing import Any, Dict, List, Optional

import numpy as np
import torch
from mmcv.parallel import DataContainer
from mmdet.core import BitmapMasks
from mmdet.datasets.builder import PIPELINES

from freekd.config.errors import ConfigError
from freekd.models.sam.prompts import (
    STRIDE,
    box_of,
    innermost_pixel,
    low_resolution,
    moved_box,
    pixel_of,
)

LARGEST = 0.9  # of the image; larger masks are of the background
KINDS = ("point", "box")


def decoded(segmentation: Any) -> np.ndarray:
    """A mask (H, W) bool of its run-length form."""
    from pycocotools import mask as coco_mask

    found: np.ndarray = coco_mask.decode(segmentation).astype(bool)
    return found


@PIPELINES.register_module()
class LoadSamMasks:
    """The masks of an image as ``gt_masks``, in the order of its annotations.

    Args:
        largest: masks that are empty, or cover more than this share of the image, are left out.
        most: at most so many, drawn without replacement; so many suffice for
            :class:`SamplePrompts`.
    """

    def __init__(self, largest: float = LARGEST, most: int = 32) -> None:
        self.largest, self.most = _share(largest, "LoadSamMasks.largest"), _count(most, "most")

    def __call__(self, results: Dict[str, Any]) -> Optional[Dict[str, Any]]:
        """None where the image has no such mask: the dataset takes another image."""
        height, width = results["img_shape"][:2]
        masks = []
        for annotation in results["sam_annotations"]:
            if annotation["segmentation"]["size"] != [height, width]:
                raise ConfigError(
                    f"{results['filename']}: expected masks of its {height} x {width} pixels, got "
                    f"one of {annotation['segmentation']['size']}. Give each image its own .json"
                )
            if 0 < annotation.get("area", 1) <= self.largest * height * width:
                masks.append(annotation["segmentation"])
        if len(masks) > self.most:
            chosen = np.random.permutation(len(masks))[: self.most]
            masks = [masks[number] for number in chosen]
        found = [mask for mask in map(decoded, masks) if 0 < mask.mean() <= self.largest]
        if not found:
            return None
        stacked = np.stack(found).astype(np.uint8)
        results["gt_masks"] = BitmapMasks(stacked, height, width)
        results["mask_fields"] = [*results.get("mask_fields", ()), "gt_masks"]
        return results

    def __repr__(self) -> str:
        return f"LoadSamMasks(largest={self.largest}, most={self.most})"


@PIPELINES.register_module()
class SamplePrompts:
    """Prompts of up to ``num_masks`` masks, which are drawn without replacement.

    The first half of them, rounded up, is prompted by a point, the others by a box. Gives
    ``gt_masks`` (B, size / 4, size / 4) bool, what the decoder is to give, ``gt_points`` (B, 2) and
    ``gt_boxes`` (B, 4) in pixels of the input, and ``is_box`` (B,). It stands after ``Resize``.

    Args:
        size: side of the padded input.
        num_masks: at most so many.
    """

    def __init__(self, size: int, num_masks: int = 32) -> None:
        self.size, self.num_masks = _count(size, "size"), _count(num_masks, "num_masks")
        if size % STRIDE:
            raise ValueError(f"SamplePrompts.size: expected a multiple of {STRIDE}, got {size}.")

    def __call__(self, results: Dict[str, Any]) -> Optional[Dict[str, Any]]:
        """None where no mask is left after resizing."""
        height, width = results["img_shape"][:2]
        if max(height, width) > self.size:
            raise ValueError(
                f"SamplePrompts.size={self.size}: the resized image has {height} x {width} pixels. "
                "Give it the side that Pad has, after a Resize to that side"
            )
        masks = results["gt_masks"].masks.astype(bool)[:, :height, :width]
        masks = masks[masks.any((1, 2))]  # a thin one may be lost
        if not len(masks):
            return None
        masks = masks[np.random.permutation(len(masks))[: self.num_masks]]
        is_box = np.arange(len(masks)) >= (len(masks) + 1) // 2
        points, boxes = np.zeros((len(masks), 2)), np.zeros((len(masks), 4))
        for place, mask in enumerate(masks):
            if is_box[place]:
                z = np.random.standard_normal(4)
                boxes[place] = moved_box(box_of(mask), z, height, width)
            else:
                points[place] = pixel_of(mask, np.random.random_sample())
        found = dict(
            gt_masks=torch.from_numpy(low_resolution(masks, self.size)),
            gt_points=torch.from_numpy(points).float(),
            gt_boxes=torch.from_numpy(boxes).float(),
            is_box=torch.from_numpy(is_box),
        )
        results.update({name: DataContainer(value) for name, value in found.items()})
        results["mask_fields"] = [n for n in results["mask_fields"] if n != "gt_masks"]
        return results

    def __repr__(self) -> str:
        return f"SamplePrompts(size={self.size}, num_masks={self.num_masks})"


@PIPELINES.register_module()
class SamTestPrompts:
    """The prompts of an evaluation, the same each time, in pixels of the original image.

    ``sam_prompts`` (K, 2) or (K, 4), and ``sam_prompt``, their kind; both go into the meta. The
    point is the annotation's first ``point_coords``, the click that made the mask; without one, the
    mask's pixel that is farthest from its edge. The box is the mask's.

    Args:
        prompt: ``point`` or ``box``.
        most: the first so many annotations of an image.
    """

    def __init__(self, prompt: str = "point", most: int = 100) -> None:
        self.prompt, self.most = _kind(prompt, "SamTestPrompts.prompt"), _count(most, "most")

    def __call__(self, results: Dict[str, Any]) -> Dict[str, Any]:
        some = results["sam_annotations"][: self.most]
        results["sam_prompts"] = prompts_of_masks(some, self.prompt)
        results["sam_prompt"] = self.prompt
        return results

    def __repr__(self) -> str:
        return f"SamTestPrompts(prompt={self.prompt!r}, most={self.most})"


def prompts_of_masks(annotations: List[Dict[str, Any]], kind: str) -> np.ndarray:
    """See :class:`SamTestPrompts`: (K, 2) or (K, 4) float64."""
    found = []
    for annotation in annotations:
        clicked = annotation.get("point_coords")
        if kind == "point" and clicked:
            found.append(np.asarray(clicked[0], dtype=np.float64))
            continue
        mask = decoded(annotation["segmentation"])
        if not mask.any():
            found.append(np.zeros(4 if kind == "box" else 2))
        else:
            found.append(box_of(mask) if kind == "box" else np.array(innermost_pixel(mask), float))
    return np.array(found, dtype=np.float64).reshape(-1, 4 if kind == "box" else 2)


def _kind(value: Any, key: str) -> str:
    if value not in KINDS:
        raise ValueError(f"{key}: expected 'point' or 'box', got {value!r}.")
    return str(value)


def _count(value: Any, key: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ValueError(f"{key}: expected a whole number above 0, got {value!r}.")
    return value


def _share(value: Any, key: str) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value <= 1:
        raise ValueError(f"{key}: expected a number above 0, at most 1, got {value!r}.")
    return float(value)
