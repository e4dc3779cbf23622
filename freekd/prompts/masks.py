"""Masks of a band (Eq. 5), from its coefficients or straight from the map.

For band b with coefficients R (N, C, h, w): M_b = P_b R (N, T, h, w), mask sigma(M_b). That is the
published form; others differ in what stands for R, see :mod:`.forms`.
"""

from typing import List, Optional, Sequence

import torch
from torch import Tensor

from freekd.checks import check_choice
from freekd.frequency import HAAR, Bands, Transform, build_transform
from freekd.frequency.butterfly import haar_low, maps_at_a_time
from freekd.frequency.haar import haar_analysis
from freekd.frequency.haar_magnitudes import haar_magnitudes
from freekd.frequency.transform import TransformLike
from freekd.widen import widened

from .forms import SIGNED, SignedForm

DISTANCES = ("l1", "l2")
_FEWEST = 8  # parts of a map: what a transform makes of one is several times its size
_LEAST = 2**13  # coefficients of a part, where the map has them: smaller ones cost more time


def mask_weight(masks: Tensor, distance: str = "l1") -> Tensor:
    """The weight (N, h, w) that T masks (N, T, h, w) put on a coefficient's distance.

    (1/T) sum_i |m_i a - m_i b| = mean(m) |a - b|, and for the squared distance
    (1/T) sum_i (m_i a - m_i b)^2 = mean(m^2) (a - b)^2.
    """
    check_choice("distance", distance, DISTANCES)
    return masks.mean(dim=1) if distance == "l1" else masks.square().mean(dim=1)


def check_prompt(
    prompt: Tensor, maps: Sequence[int], transform: Transform, granularity: str
) -> None:
    """Raise ValueError unless a prompt (G, T, C) fits ``maps``, a shape (N, C, h, w)."""
    groups = len(transform.groups(granularity))
    if len(maps) != 4 or prompt.dim() != 3 or prompt.shape[0::2] != (groups, maps[1]):
        channels = f"{maps[1]} channels" if len(maps) == 4 else "C channels"
        raise ValueError(
            f"expected maps (N, C, h, w) and a prompt ({groups} groups, T, {channels}) for "
            f"{transform}, granularity={granularity!r}; got maps {tuple(maps)} and a "
            f"prompt {tuple(prompt.shape)}"
        )


def prompt_masks(
    prompt: Tensor,
    bands: Bands,
    transform: TransformLike = HAAR,
    granularity: str = "band",
    form: SignedForm = SIGNED,
) -> List[Tensor]:
    """sigma(M_b) for each group, with M_b = P_b R in the published form (Eq. 5).

    Args:
        prompt: P (G, T, C), G groups in the order of ``transform.groups(granularity)``.
        bands: coefficients (N, C, h, w), what the transform's ``analyse`` gives.
        transform: whose bands they are.
        granularity: ``band`` (Eq. 5) or ``level``: the three bands of a level are summed first.
        form: from coefficients to logits, see :mod:`.forms`.

    Returns:
        G masks (N, T, h, w), in (0, 1).

    Raises:
        ValueError: when groups or channels do not match.
    """
    transform = build_transform(transform)
    check_prompt(prompt, bands.flat()[0].shape, transform, granularity)
    with torch.autocast(device_type=prompt.device.type, enabled=False):
        return masks_from(prompt, form.read(bands, transform, granularity), form)


def masks_from(prompt: Tensor, read: Sequence[Tensor], form: SignedForm = SIGNED) -> List[Tensor]:
    """:func:`prompt_masks` of what ``form.read`` gave."""
    with torch.autocast(device_type=prompt.device.type, enabled=False):
        weights, offset = form.factors(prompt)
        return _sigmoids([_product(w, v) for w, v in zip(weights, read)], offset)


def _product(weights: Tensor, values: Tensor) -> Tensor:
    """(T, C) times (N, C, h, w): (N, T, h, w)."""
    product: Tensor = weights.to(values.dtype) @ values.flatten(2)
    return product.view(*product.shape[:2], *values.shape[2:])


def _sigmoids(logits: Sequence[Tensor], offset: Optional[Tensor]) -> List[Tensor]:
    """sigma of logits (N, T, h, w) of each group, with an offset (G, T) added."""
    if offset is not None:
        logits = [x + o.to(x.dtype)[:, None, None] for x, o in zip(logits, offset)]
    return [torch.sigmoid(logit) for logit in logits]


@torch.no_grad()
def masks_of(
    prompt: Tensor,
    feat: Tensor,
    transform: TransformLike = HAAR,
    granularity: str = "band",
    form: SignedForm = SIGNED,
) -> List[Tensor]:
    """:func:`prompt_masks` of the bands of a map; on a CPU they are made a few channels at a time.

    Logits are a sum over channels. No gradient.

    Args:
        prompt: P (G, T, C).
        feat: R (N, C, H, W), any floating type.
        transform, granularity, form: as for :func:`prompt_masks`.

    Returns:
        G masks (N, T, h, w).

    Raises:
        ValueError: as :func:`prompt_masks` and the transform.
    """
    transform = build_transform(transform)
    transform.sizes(feat.shape)
    check_prompt(prompt, feat.shape, transform, granularity)
    count, channels, height, width = feat.shape
    room = maps_at_a_time(height, width, feat) // max(1, count)
    if feat.device.type == "cpu":
        room = min(room, max(channels // _FEWEST, _LEAST // (height * width * max(1, count))))
    logits: List[Tensor] = []
    with torch.autocast(device_type=feat.device.type, enabled=False):
        weights, offset = form.factors(prompt)
        for part, piece in zip(weights.split(max(1, room), 2), feat.split(max(1, room), 1)):
            read = form.read(transform.analyse(piece), transform, granularity)
            terms = [_product(w, v) for w, v in zip(part, read)]
            logits = [a + b for a, b in zip(logits, terms)] if logits else terms
        return _sigmoids(logits, offset)


@torch.no_grad()
def haar_masks(
    prompt: Tensor,
    feat: Tensor,
    transform: TransformLike = HAAR,
    granularity: str = "band",
    form: SignedForm = SIGNED,
) -> List[Tensor]:
    """:func:`prompt_masks` of a Haar transform, without making the bands.

    The transform acts on each channel, the prompt across channels, so they commute:
    P_b xi_b(R) = xi_b(P_b R). The C channels are projected to T first, and T maps are transformed;
    of the C channels only LL is needed, for the next level. Where the form reads |R| they do not;
    then see :func:`freekd.frequency.haar_magnitudes.haar_magnitudes`. No gradient.

    Args:
        prompt: P (G, T, C).
        feat: R (N, C, H, W), any floating type.
        transform: with ``haar_levels`` for maps of this size.
        granularity, form: as for :func:`prompt_masks`.

    Returns:
        G masks (N, T, h, w), in float32, or float64 where ``feat`` is.

    Raises:
        ValueError: as :func:`prompt_masks`; or the transform is not Haar's at this size.
    """
    transform = build_transform(transform)
    transform.sizes(feat.shape)
    check_prompt(prompt, feat.shape, transform, granularity)
    levels = transform.haar_levels(feat.shape)
    if levels == 0:
        raise ValueError(f"{transform} of maps {tuple(feat.shape)} is not Haar with zero extension")
    with torch.autocast(device_type=feat.device.type, enabled=False):
        weights, offset = form.factors(prompt)
        if form.magnitudes:
            groups = transform.groups(granularity)
            owner = {band: g for g, group in enumerate(groups) for band in group.members}
            sums = haar_magnitudes(feat, weights[[owner[band] for band in range(len(owner))]])
            logits = [_total([sums[band] for band in group.members]) for group in groups]
        else:
            logits = _projected_logits(widened(feat), weights, levels, granularity)
        return _sigmoids(logits, offset)


def _total(terms: Sequence[Tensor]) -> Tensor:
    return terms[0] if len(terms) == 1 else torch.stack(list(terms)).sum(0)


def _projected_logits(low: Tensor, prompt: Tensor, levels: int, granularity: str) -> List[Tensor]:
    """P xi(R) as xi(P R) of each group, (N, T, h, w)."""
    prompt = prompt.to(low.dtype)
    logits = []
    for level in range(1, levels + 1):
        if granularity == "band":
            projected = _project(prompt[3 * level - 2 : 3 * level + 1], low)
            _, *details = haar_analysis(projected)
            logits += [band[:, i] for i, band in enumerate(details)]
        else:
            _, *details = haar_analysis(_project(prompt[level : level + 1], low)[:, 0])
            logits.append(details[0] + details[1] + details[2])
        low = haar_low(low)
    return [_project(prompt[:1], low)[:, 0], *logits]


def _project(prompt: Tensor, maps: Tensor) -> Tensor:
    """(g, T, C) times (N, C, h, w): (N, g, T, h, w)."""
    out = prompt.flatten(0, 1) @ maps.flatten(2)
    return out.view(maps.shape[0], *prompt.shape[:2], *maps.shape[2:])


def gate_weights(weight: Tensor, transform: Transform) -> List[Tensor]:
    """A gate's weight for each band: as it is, or with places averaged, see ``averaged``."""
    if weight.shape[2:] == (1, 1):
        return [weight] * len(transform.names)
    return transform.averaged(weight)
