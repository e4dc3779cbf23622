"""Where to look: weights of coefficients beside, and made of, the published masks.

All but the published weights have the mean 1 over a band's places in each image, so that the size
of the loss does not depend on the choice:

    energy    w = e / mean(e),  e = mean_c |R|                    R: the teacher's band; unlearned
    boxes     w = q m / mean(m) + (1 - q) (1 - m) / mean(1 - m)   m: the part of a coefficient's
                                                                  place that lies in boxes
    masks     w = (1/T) sum_i m_i^p                               Eq. 13, p = 1 for l1, 2 for l2
    the same, to the mean 1
              w / mean(w)
    the same, each mask by its own sum
              w = (1/T) sum_i m_i^p / mean(m_i^p)                 a small region counts as much
"""

from typing import List, Optional, Sequence

import torch
from torch import Tensor

from freekd.checks import check_choice
from freekd.frequency import Transform
from freekd.frequency.haar_magnitudes import haar_magnitudes
from freekd.widen import widened

from .masks import mask_weight

MASK_NORMS = (None, "mean", "sum")
_CHANNELS = 16  # at a time


def has_places(transform: Transform) -> bool:
    """Whether a coefficient has a place in the map, as a wavelet's has, and a whole DCT's has not.

    >>> from freekd.frequency import build_transform
    >>> has_places(build_transform("haar")), has_places(build_transform("dct"))
    (True, False)
    """
    return transform.averaged(torch.zeros(1, 1, 64, 64))[1].shape[2:] != (1, 1)


def mean_one(weight: Tensor) -> Tensor:
    """Scaled to the mean 1 over the last two axes; 1 where all are 0.

    >>> mean_one(torch.tensor([[1.0, 3.0]])).tolist()
    [[0.5, 1.5]]
    """
    mean = weight.mean(dim=(-2, -1), keepdim=True)
    return torch.where(mean > 0, weight / mean.clamp_min(torch.finfo(weight.dtype).tiny), 1.0)


@torch.no_grad()
def energy_weights(feat: Tensor, transform: Transform, granularity: str = "band") -> List[Tensor]:
    """The weight of each group by the teacher's own coefficients, see the module.

    Args:
        feat: (N, C, H, W).
        transform, granularity: of the loss. The energies of a ``level``'s three bands are added.

    Returns:
        (N, h, w) of each group.
    """
    transform.sizes(feat.shape)
    if feat.device.type == "cpu" and transform.haar_levels(feat.shape):
        ones = feat.new_ones(len(transform.names), 1, feat.shape[1])
        bands = [total[:, 0] for total in haar_magnitudes(feat, ones)]
    else:
        bands = []
        for piece in feat.split(_CHANNELS if feat.device.type == "cpu" else feat.shape[1], 1):
            sizes = [widened(band).abs().sum(dim=1) for band in transform.analyse(piece).flat()]
            bands = [a + b for a, b in zip(bands, sizes)] if bands else sizes
    groups = transform.groups(granularity)
    return [mean_one(torch.stack([bands[i] for i in g.members]).sum(0)) for g in groups]


@torch.no_grad()
def box_weights(
    inside: Tensor, share: float, transform: Transform, granularity: str = "band"
) -> List[Tensor]:
    """The weight of each group by boxes, see the module; 1 for an image without boxes.

    Args:
        inside: (N, H, W): 1 in a box, else 0.
        share: q, what the coefficients in boxes get of a band's weight.
        transform, granularity: of the loss.

    Returns:
        (N, h, w) of each group.

    >>> from freekd.frequency import HAAR
    >>> inside = torch.zeros(1, 16, 16)
    >>> inside[:, :4, :8] = 1  # an eighth
    >>> finest = box_weights(inside, 0.5, HAAR)[1][0]
    >>> [round(float(x), 4) for x in (finest[0, 0], finest[7, 7])]  # .5 / (1/8), .5 / (7/8)
    [4.0, 0.5714]
    """
    found = []
    maps = transform.averaged(inside.unsqueeze(1))
    for group in transform.groups(granularity):
        part = maps[group.members[0]][:, 0]
        weight = share * mean_one(part) + (1 - share) * mean_one(1 - part)
        some = part.sum(dim=(1, 2), keepdim=True) > 0
        found.append(torch.where(some, weight, torch.ones_like(weight)))
    return found


def masked_weights(
    masks: Sequence[Tensor], distance: str, norm: Optional[str] = None
) -> List[Tensor]:
    """The weight (N, h, w) of each group's masks (N, T, h, w), see the module.

    Args:
        masks: of each group.
        distance: ``l1`` or ``l2``.
        norm: None; ``mean``: the weight is divided by its mean over the band; ``sum``: each mask
            is, so that a small one counts as much as a large one.

    >>> small, large = torch.zeros(2, 2, 2), torch.ones(2, 2)
    >>> small[0, 0, 0] = 1.0  # one place of four in one mask, none in the other
    >>> masked_weights([small[None]], "l1", "sum")[0][0].tolist()
    [[2.5, 0.5], [0.5, 0.5]]
    """
    check_choice("mask_norm", norm, MASK_NORMS)
    if norm != "sum":
        weights = [mask_weight(mask, distance) for mask in masks]
        return weights if norm is None else [mean_one(weight) for weight in weights]
    powers = masks if distance == "l1" else [mask.square() for mask in masks]
    return [mean_one(power).mean(dim=1) for power in powers]
