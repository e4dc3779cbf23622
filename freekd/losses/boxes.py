"""Boxes of dense heads: from anchors and deltas, from point sets, and how far two of them agree.

The decoding is that of R-CNN's deltas, the box of a point set RepPoints' moment transform.
"""

import torch
from torch import Tensor

MAX_RATIO = 4.135166556742356  # |ln(16 / 1000)|: the most that a box may be larger than its anchor
LEAST_UNION = 1e-6


def decode_boxes(anchors: Tensor, deltas: Tensor) -> Tensor:
    """Boxes (n, 4) as x1, y1, x2, y2 from anchors in this form and deltas (dx, dy, dw, dh).

    The centre moves by (dx, dy) times the anchor's size, which is multiplied by exp(dw), exp(dh);
    dw and dh are clamped to +-|ln(16 / 1000)|. Boxes are not clipped to the image.

    >>> decode_boxes(torch.tensor([[0.0, 0.0, 4.0, 2.0]]), torch.tensor([[0.5, 0.0, 0.0, 0.0]]))
    tensor([[2., 0., 6., 2.]])
    """
    size = anchors[:, 2:] - anchors[:, :2]
    centre = (anchors[:, :2] + anchors[:, 2:]) / 2 + size * deltas[:, :2]
    half = size * deltas[:, 2:].clamp(-MAX_RATIO, MAX_RATIO).exp() / 2
    return torch.cat([centre - half, centre + half], dim=1)


def points_to_boxes(points: Tensor) -> Tensor:
    """Boxes (n, 4) from point sets (n, 2P), x before y: mean -+ unbiased standard deviation.

    RepPoints' moment transform with its learned exponent at 0, as the reference has it.

    >>> points_to_boxes(torch.tensor([[0.0, 0.0, 1.0, 2.0, 2.0, 4.0]]))
    tensor([[0., 0., 2., 4.]])
    """
    places = points.reshape(len(points), points.shape[1] // 2, 2)
    centre = places.mean(1)
    squares = (places - centre[:, None]).pow(2).sum(1)
    half = (squares / max(places.shape[1] - 1, 1)).sqrt()
    return torch.cat([centre - half, centre + half], dim=1)


def aligned_iou(boxes: Tensor, others: Tensor) -> Tensor:
    """IoU (n) of the boxes of each row, (n, 4) both; the union is at least 1e-6.

    >>> aligned_iou(torch.tensor([[0.0, 0.0, 2.0, 2.0]]), torch.tensor([[1.0, 0.0, 3.0, 2.0]]))
    tensor([0.3333])
    """
    low, high = torch.max(boxes[:, :2], others[:, :2]), torch.min(boxes[:, 2:], others[:, 2:])
    shared = (high - low).clamp(min=0).prod(1)
    areas = [(each[:, 2:] - each[:, :2]).prod(1) for each in (boxes, others)]
    return shared / (areas[0] + areas[1] - shared).clamp(min=LEAST_UNION)
