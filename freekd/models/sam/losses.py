"""The losses of Segment Anything's masks: focal, dice, and the error of the predicted IoU.

For the logits x of a mask and its target g, both on the decoder's grid, over the pixels that show
the image (all others are padding), with p = sigmoid(x):

    focal = mean( alpha_t (1 - p_t)^2 (-log p_t) ),  p_t = p where g is 1, else 1 - p
    dice  = 1 - (2 sum(p g) + 1) / (sum p + sum g + 1)
    iou   = (q - IoU(x > 0, g))^2,  q what the model predicts

alpha_t is 0.25 where g is 1, else 0.75. Focal loss: Lin et al., ICCV 2017 (arXiv:1708.02002); dice:
Milletari et al., 3DV 2016 (arXiv:1606.04797); how Segment Anything weighs them: Kirillov et al.,
ICCV 2023 (arXiv:2304.02643), section 3.

The decoder gives four masks for each prompt. Mask 0 answers to a box; of masks 1 to 3, which answer
to a point, the one with the smallest weighted sum of focal and dice learns, so that an ambiguous
point can mean the part as well as the whole.
"""

from typing import Dict, Mapping, NamedTuple, Tuple

import torch
from torch import Tensor
from torch.nn import functional as F

ALPHA, GAMMA = 0.25, 2.0
EPS = 1.0  # of dice, so that an empty mask has a loss
WEIGHTS: Dict[str, float] = dict(focal=20.0, dice=1.0, iou=1.0)


class MaskTerms(NamedTuple):
    """The losses of each mask of each prompt, all (B, 4)."""

    focal: Tensor
    dice: Tensor
    true_iou: Tensor  # of the mask with its target; without gradient


def mask_terms(logits: Tensor, target: Tensor, valid: Tuple[int, int]) -> MaskTerms:
    """Focal and dice loss, and the IoU, of each mask.

    Args:
        logits: (B, 4, h, w).
        target: (B, h, w), true where the object is.
        valid: rows and columns that show the image; what is right and below is padding.

    >>> far = torch.full((1, 1, 2, 2), 100.0)  # sure of the whole image, and right
    >>> [round(float(x), 4) for x in mask_terms(far, torch.ones(1, 2, 2), (2, 2))]
    [0.0, 0.0, 1.0]
    """
    rows, columns = valid
    logits = logits[..., :rows, :columns].flatten(2)
    goal = target[..., :rows, :columns].flatten(1).to(logits.dtype)[:, None].expand_as(logits)
    entropy = F.binary_cross_entropy_with_logits(logits, goal, reduction="none")
    p = logits.sigmoid()
    missed = p + goal - 2 * p * goal  # 1 - p_t
    alpha = ALPHA * goal + (1 - ALPHA) * (1 - goal)
    focal = (alpha * missed**GAMMA * entropy).mean(2)
    overlap = (p * goal).sum(2)
    dice = 1 - (2 * overlap + EPS) / (p.sum(2) + goal.sum(2) + EPS)
    with torch.no_grad():
        found, there = logits > 0, goal > 0.5
        both, either = (found & there).sum(2), (found | there).sum(2)
        true_iou = torch.where(either > 0, both / either.clamp(min=1), torch.ones_like(p[..., 0]))
    return MaskTerms(focal, dice, true_iou.to(logits.dtype))


def chosen_masks(terms: MaskTerms, is_box: Tensor, weights: Mapping[str, float]) -> Tensor:
    """The number of the mask that learns, for each prompt: 0 of a box, 1 to 3 of a point; (B,)."""
    cost = weights["focal"] * terms.focal + weights["dice"] * terms.dice
    best = cost[:, 1:].detach().argmin(1) + 1
    return torch.where(is_box, torch.zeros_like(best), best)


def mask_losses(
    logits: Tensor,
    predicted_iou: Tensor,
    target: Tensor,
    is_box: Tensor,
    valid: Tuple[int, int],
    weights: Mapping[str, float] = WEIGHTS,
) -> Dict[str, Tensor]:
    """The weighted losses of the prompts of one image.

    Args:
        logits, target, valid: as in :func:`mask_terms`.
        predicted_iou: (B, 4).
        is_box: (B,) bool, whether the prompt is a box; else it is a point.
        weights: of ``focal``, ``dice`` and ``iou``.

    Returns:
        ``loss_focal``, ``loss_dice``, ``loss_iou``: means over the prompts. That of the IoU is the
        mean over the masks that answer to the prompt, one or three.
    """
    terms = mask_terms(logits, target, valid)
    learning = chosen_masks(terms, is_box, weights)[:, None]
    error = (predicted_iou - terms.true_iou) ** 2
    iou = torch.where(is_box, error[:, 0], error[:, 1:].mean(1))
    return dict(
        loss_focal=weights["focal"] * terms.focal.gather(1, learning).mean(),
        loss_dice=weights["dice"] * terms.dice.gather(1, learning).mean(),
        loss_iou=weights["iou"] * iou.mean(),
    )
