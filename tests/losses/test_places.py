"""Boxes on maps: against a loop over pixels."""

import pytest
import torch

from freekd.checks import FeatureError
from freekd.losses.places import batch_boxes, box_map, check_images
from freekd.losses.step import Step


def test_a_cell_is_inside_when_a_pixel_of_it_is():
    generator = torch.Generator().manual_seed(0)
    for _ in range(20):
        x1, y1, w, h = (
            torch.rand(4, generator=generator) * torch.tensor([30, 20, 17, 11])
        ).tolist()
        box = (x1, y1, x1 + w + 0.1, y1 + h + 0.1)
        found = box_map([box], (32, 48), (4, 6))
        for row in range(4):
            for column in range(6):
                touched = (
                    box[0] < 8 * (column + 1) and box[2] > 8 * column
                    and box[1] < 8 * (row + 1) and box[3] > 8 * row
                )  # fmt: skip
                assert bool(found[row, column]) == touched


def test_what_a_batch_must_have():
    image = torch.zeros(1, 3, 8, 8)
    with pytest.raises(FeatureError, match=r"^mine: expected a batch with the boxes \(gt_bboxes\)"):
        batch_boxes(Step(dict(img=image), torch.nn.Identity()), "mine")
    with pytest.raises(FeatureError, match="^mine: expected a batch with the images"):
        batch_boxes(Step(dict(gt_bboxes=[]), torch.nn.Identity()), "mine")
    step = Step(
        dict(img=image, gt_bboxes=[torch.tensor([[0.0, 1.0, 2.0, 3.0]])]), torch.nn.Identity()
    )
    assert batch_boxes(step, "mine") == ([[[0.0, 1.0, 2.0, 3.0]]], (8, 8))
    with pytest.raises(FeatureError, match="of 2 images, got the boxes of 1 images"):
        check_images([[]], torch.zeros(2, 1, 1, 1), "mine")
