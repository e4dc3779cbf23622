"""Masks of a band, and stage 1's masked reconstruction (Eq. 4-7).

For band b with coefficients R (N, C, h, w): M_b = P_b R (N, T, h, w), mask sigma(M_b), masked band
sum_i sigma(M_b,i) R. The masked bands go through the inverse transform.
"""

from typing import List, Optional, Sequence, Tuple

import torch
from torch import Tensor

from freekd.checks import check_choice
from freekd.frequency import HAAR, Bands, Transform, build_transform
from freekd.frequency.butterfly import haar_low, maps_at_a_time
from freekd.frequency.haar import haar_analysis
from freekd.frequency.transform import TransformLike
from freekd.gates.gate import check_weight_shape
from freekd.widen import widened

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
    prompt: Tensor, bands: Bands, transform: TransformLike = HAAR, granularity: str = "band"
) -> List[Tensor]:
    """sigma(P_b R) for each group, Eq. 5.

    Args:
        prompt: P (G, T, C), G groups in the order of ``transform.groups(granularity)``.
        bands: coefficients (N, C, h, w), what the transform's ``analyse`` gives.
        transform: whose bands they are.
        granularity: ``band`` (Eq. 5) or ``level``: the three bands of a level are summed first.

    Returns:
        G masks (N, T, h, w), in (0, 1).

    Raises:
        ValueError: when groups or channels do not match.
    """
    transform = build_transform(transform)
    check_prompt(prompt, bands.flat()[0].shape, transform, granularity)
    masks = []
    with torch.autocast(device_type=prompt.device.type, enabled=False):
        for weights, coefficients in zip(prompt, transform.prompted(bands, granularity)):
            logits = weights.to(coefficients.dtype) @ coefficients.flatten(2)
            masks.append(torch.sigmoid(logits).unflatten(2, coefficients.shape[-2:]))
    return masks


@torch.no_grad()
def masks_of(
    prompt: Tensor, feat: Tensor, transform: TransformLike = HAAR, granularity: str = "band"
) -> List[Tensor]:
    """:func:`prompt_masks` of the bands of a map; on a CPU they are made a few channels at a time.

    P_b R is a sum over channels. No gradient.

    Args:
        prompt: P (G, T, C).
        feat: R (N, C, H, W), any floating type.
        transform, granularity: as for :func:`prompt_masks`.

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
        for part, piece in zip(prompt.split(max(1, room), 2), feat.split(max(1, room), 1)):
            bands = transform.prompted(transform.analyse(piece), granularity)
            terms = [
                (weights.to(band.dtype) @ band.flatten(2)).unflatten(2, band.shape[-2:])
                for weights, band in zip(part, bands)
            ]
            logits = [a + b for a, b in zip(logits, terms)] if logits else terms
    return [torch.sigmoid(logit) for logit in logits]


@torch.no_grad()
def haar_masks(
    prompt: Tensor, feat: Tensor, transform: TransformLike = HAAR, granularity: str = "band"
) -> List[Tensor]:
    """:func:`prompt_masks` of a Haar transform, without making the bands.

    The transform acts on each channel, the prompt across channels, so they commute:
    P_b xi_b(R) = xi_b(P_b R). The C channels are projected to T first, and T maps are transformed;
    of the C channels only LL is needed, for the next level. No gradient.

    Args:
        prompt: P (G, T, C).
        feat: R (N, C, H, W), any floating type.
        transform: with ``haar_levels`` for maps of this size.
        granularity: as for :func:`prompt_masks`.

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
    low = widened(feat)
    prompt = prompt.to(low.dtype)
    logits = []
    with torch.autocast(device_type=feat.device.type, enabled=False):
        for level in range(1, levels + 1):
            if granularity == "band":
                projected = _project(prompt[3 * level - 2 : 3 * level + 1], low)
                _, *details = haar_analysis(projected)
                logits += [band[:, i] for i, band in enumerate(details)]
            else:
                _, *details = haar_analysis(_project(prompt[level : level + 1], low)[:, 0])
                logits.append(details[0] + details[1] + details[2])
            low = haar_low(low)
        logits.insert(0, _project(prompt[:1], low)[:, 0])
    return [torch.sigmoid(logit) for logit in logits]


def _project(prompt: Tensor, maps: Tensor) -> Tensor:
    """(g, T, C) times (N, C, h, w): (N, g, T, h, w)."""
    out = prompt.flatten(0, 1) @ maps.flatten(2)
    return out.view(maps.shape[0], *prompt.shape[:2], *maps.shape[2:])


def masked_reconstruction(
    feat: Tensor,
    prompt: Tensor,
    transform: TransformLike = HAAR,
    granularity: str = "band",
    gate_weight: Optional[Tensor] = None,
    crop: bool = True,
) -> Tuple[Tensor, List[Tensor]]:
    """The map that stage 1 puts in the teacher: xi~( omega sum_i sigma(M_i) R ), Eq. 4-7.

    Args:
        feat: (N, C, H, W).
        prompt: (G, T, C).
        transform: xi.
        granularity: as for :func:`prompt_masks`.
        gate_weight: omega, a gate's weight, which broadcasts to ``feat``; with places it is
            averaged for each band, see :meth:`freekd.frequency.Transform.averaged`. None for 1.
        crop: cut the reconstruction to (H, W); the inverse of an odd size is larger.

    Returns:
        The masked map, of ``feat``'s dtype, and the masks of each group (N, T, h, w).

    Raises:
        ValueError: as :func:`prompt_masks` and the transform, and for a ``gate_weight`` of another
            shape.
    """
    transform = build_transform(transform)
    if gate_weight is not None:
        check_weight_shape(gate_weight, feat.shape)
    bands = transform.analyse(feat)
    masks = prompt_masks(prompt, bands, transform, granularity)
    flat = bands.flat()
    with torch.autocast(device_type=feat.device.type, enabled=False):
        for mask, group in zip(masks, transform.groups(granularity)):
            factor = mask.sum(dim=1, keepdim=True)
            for member in group.members:
                flat[member] = flat[member] * factor
        if gate_weight is not None:
            gates = gate_weights(gate_weight, transform)
            flat = [band * gate for band, gate in zip(flat, gates)]
    size = feat.shape[-2:] if crop else None
    return transform.synthesise(transform.bands(flat), size).to(feat.dtype), masks


def gate_weights(weight: Tensor, transform: Transform) -> List[Tensor]:
    """A gate's weight for each band: as it is, or with places averaged, see ``averaged``."""
    if weight.shape[2:] == (1, 1):
        return [weight] * len(transform.names)
    return transform.averaged(weight)
