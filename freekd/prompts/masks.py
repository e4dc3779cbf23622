"""Masks of a band, and stage 1's masked reconstruction (Eq. 4-7).

For band b with coefficients R (N, C, h, w): M_b = P_b R (N, T, h, w), mask sigma(M_b), masked band
sum_i sigma(M_b,i) R. The masked bands go through the inverse transform.
"""

from typing import List, Optional, Sequence, Tuple

import torch
from torch import Tensor

from freekd.checks import check_choice
from freekd.frequency import WaveletBands, dwt2, idwt2
from freekd.frequency.groups import band_groups, group_coefficients
from freekd.frequency.haar import haar_analysis, haar_low
from freekd.frequency.wavelet import check_transform

DISTANCES = ("l1", "l2")


def mask_weight(masks: Tensor, distance: str = "l1") -> Tensor:
    """The weight (N, h, w) that T masks (N, T, h, w) put on a coefficient's distance.

    (1/T) sum_i |m_i a - m_i b| = mean(m) |a - b|, and for the squared distance
    (1/T) sum_i (m_i a - m_i b)^2 = mean(m^2) (a - b)^2.
    """
    check_choice("distance", distance, DISTANCES)
    return masks.mean(dim=1) if distance == "l1" else masks.square().mean(dim=1)


def _check_prompt(prompt: Tensor, maps: Sequence[int], dwt_levels: int, granularity: str) -> None:
    """Whether a prompt (G, T, C) fits ``maps``, a shape (N, C, h, w)."""
    groups = len(band_groups(dwt_levels, granularity))
    if len(maps) != 4 or prompt.dim() != 3 or prompt.shape[0::2] != (groups, maps[1]):
        channels = f"{maps[1]} channels" if len(maps) == 4 else "C channels"
        raise ValueError(
            f"expected maps (N, C, h, w) and a prompt ({groups} groups, T, {channels}) for "
            f"dwt_levels={dwt_levels}, granularity={granularity!r}; got maps {tuple(maps)} and a "
            f"prompt {tuple(prompt.shape)}"
        )


def prompt_masks(prompt: Tensor, bands: WaveletBands, granularity: str = "band") -> List[Tensor]:
    """sigma(P_b R) for each group, Eq. 5.

    Args:
        prompt: P (G, T, C), G groups in the order of :func:`freekd.frequency.groups.band_groups`.
        bands: coefficients (N, C, h, w).
        granularity: ``band`` (Eq. 5) or ``level``: the three bands of a level are summed first.

    Returns:
        G masks (N, T, h, w), in (0, 1).

    Raises:
        ValueError: when groups or channels do not match.
    """
    _check_prompt(prompt, bands.low.shape, bands.levels, granularity)
    masks = []
    with torch.autocast(device_type=prompt.device.type, enabled=False):
        for weights, coefficients in zip(prompt, group_coefficients(bands, granularity)):
            logits = weights.to(coefficients.dtype) @ coefficients.flatten(2)
            masks.append(torch.sigmoid(logits).unflatten(2, coefficients.shape[-2:]))
    return masks


@torch.no_grad()
def haar_masks(
    prompt: Tensor, feat: Tensor, dwt_levels: int = 3, granularity: str = "band"
) -> List[Tensor]:
    """:func:`prompt_masks` of a Haar transform with zero extension, without making the bands.

    The transform acts on each channel, the prompt across channels, so they commute (method.md,
    identity 3): P_b xi_b(R) = xi_b(P_b R). The C channels are projected to T first, and T maps are
    transformed; of the C channels only LL is needed, for the next level. No gradient.

    Args:
        prompt: P (G, T, C).
        feat: R (N, C, H, W), any floating type.
        dwt_levels, granularity: as for :func:`prompt_masks`.

    Returns:
        G masks (N, T, h, w), in float32, or float64 where ``feat`` is.

    Raises:
        ValueError: as :func:`prompt_masks` and :func:`freekd.frequency.dwt2`.
    """
    check_transform(feat.shape, "haar", dwt_levels, "zero")
    _check_prompt(prompt, feat.shape, dwt_levels, granularity)
    low = feat.to(torch.promote_types(feat.dtype, torch.float32))
    prompt = prompt.to(low.dtype)
    logits = []
    with torch.autocast(device_type=feat.device.type, enabled=False):
        for level in range(1, dwt_levels + 1):
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
    wavelet: str = "haar",
    dwt_levels: int = 3,
    dwt_mode: str = "zero",
    granularity: str = "band",
    channel_weight: Optional[Tensor] = None,
    crop: bool = True,
) -> Tuple[Tensor, List[Tensor]]:
    """The map that stage 1 puts in the teacher: xi~( omega sum_i sigma(M_i) R ), Eq. 4-7.

    Args:
        feat: (N, C, H, W).
        prompt: (G, T, C).
        channel_weight: omega (N, C), or None.
        crop: cut the reconstruction to (H, W); the inverse of an odd size is larger.

    Returns:
        The masked map, of ``feat``'s dtype, and the masks of each group (N, T, h, w).

    Raises:
        ValueError: as :func:`prompt_masks` and :func:`freekd.frequency.dwt2`, and for a
            ``channel_weight`` of another shape.
    """
    if channel_weight is not None and channel_weight.shape != feat.shape[:2]:
        raise ValueError(
            f"expected a channel_weight (N, C) = {tuple(feat.shape[:2])} for the maps "
            f"{tuple(feat.shape)}, got {tuple(channel_weight.shape)}"
        )
    bands = dwt2(feat, wavelet, dwt_levels, dwt_mode)
    masks = prompt_masks(prompt, bands, granularity)
    flat = bands.flat()
    with torch.autocast(device_type=feat.device.type, enabled=False):
        for mask, (_, members) in zip(masks, band_groups(dwt_levels, granularity)):
            factor = mask.sum(dim=1, keepdim=True)
            for member in members:
                flat[member] = flat[member] * factor
        if channel_weight is not None:
            weight = channel_weight[:, :, None, None]
            flat = [band * weight for band in flat]
    size = feat.shape[-2:] if crop else None
    out = idwt2(WaveletBands.from_flat(flat), wavelet, dwt_mode, size)
    return out.to(feat.dtype), masks
