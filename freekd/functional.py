"""The losses as functions: frequency distillation (Eq. 3), dissimilarity (8), FreeKD (13).

Two identities keep them cheap (method.md): the transform is linear, so the bands of a difference
are the difference of bands; and a mask is positive, so T masked copies of a band reduce to one
weight, the mean over T of the mask (of its square for the squared distance).
"""

from typing import List, NamedTuple, Optional, Sequence, Tuple

import torch
from torch import Tensor
from torch.nn import functional as F

from .frequency import WaveletBands, band_names, dwt2
from .frequency.haar import wide_dtype
from .frequency.haar_distance import can_fuse, haar_distance, weighted_sum
from .frequency.wavelet import band_sizes, haar_applies

GRANULARITIES = ("band", "level")
BAND_CHOICES = ("all", "high", "low")
DISTANCES = ("l1", "l2")
NORMALIZATIONS = (None, "channel")
DISSIMILARITIES = ("jaccard", "dice")


class FeatureError(ValueError):
    """Feature maps that are not what the config says: their number, channels or kind."""


def check_choice(key: str, value: object, choices: Sequence[object]) -> None:
    """Raise ValueError, naming the config key, unless ``value`` is one of ``choices``."""
    if value not in choices:
        expected = ", ".join(repr(choice) for choice in choices)
        raise ValueError(f"{key}={value!r} is not known; expected one of {expected}")


class BandGroup(NamedTuple):
    """Bands that share a prompt: one band (the paper) or the three of a level (the release)."""

    name: str
    members: Tuple[int, ...]  # positions in WaveletBands.flat()


def band_groups(dwt_levels: int, granularity: str = "band") -> List[BandGroup]:
    """The groups, in the order of a prompt's first axis.

    >>> [group.name for group in band_groups(2, "level")]
    ['LL2', 'level1', 'level2']
    >>> [group.name for group in band_groups(1, "band")]
    ['LL1', 'LH1', 'HL1', 'HH1']
    """
    check_choice("granularity", granularity, GRANULARITIES)
    if granularity == "band":
        return [BandGroup(name, (i,)) for i, name in enumerate(band_names(dwt_levels))]
    groups = [BandGroup(f"LL{dwt_levels}", (0,))]
    for level in range(1, dwt_levels + 1):
        first = 3 * level - 2
        groups.append(BandGroup(f"level{level}", (first, first + 1, first + 2)))
    return groups


def selected_groups(dwt_levels: int, granularity: str, bands: str) -> List[Tuple[int, BandGroup]]:
    """(position, group) of the groups that ``bands`` keeps: ``all``, ``high`` (no LL), ``low``."""
    check_choice("bands", bands, BAND_CHOICES)
    numbered = list(enumerate(band_groups(dwt_levels, granularity)))
    return {"all": numbered, "high": numbered[1:], "low": numbered[:1]}[bands]


def group_coefficients(bands: WaveletBands, granularity: str = "band") -> List[Tensor]:
    """What each group's prompt is multiplied with: its band, or the sum of its three bands."""
    flat = bands.flat()
    groups = band_groups(bands.levels, granularity)
    return [
        flat[members[0]]
        if len(members) == 1
        else flat[members[0]] + flat[members[1]] + flat[members[2]]
        for _, members in groups
    ]


def standardize(feat: Tensor, eps: float = 1e-6) -> Tensor:
    """Each channel of (N, C, H, W) to mean 0 and variance 1 over (N, H, W), in float32 at least."""
    feat = feat.float() if feat.dtype in (torch.float16, torch.bfloat16) else feat
    # torch's batch norm in training mode, without its own weights: one kernel each way
    feat = feat.contiguous()  # in channels_last its statistics on a CPU lose digits
    return torch.batch_norm(feat, None, None, None, None, True, 0.0, eps, False)


def dissimilarity(masks: Tensor, kind: str = "jaccard", eps: float = 1e-12) -> Tensor:
    """How alike the T masks of a band are (Eq. 8); lower is better, a loss.

    Args:
        masks: (N, T, ...), values in [0, 1].
        kind: ``jaccard`` (the paper): (1/T^2) sum over all i, j of
            sum(m n) / (sum m^2 + sum n^2 - sum m n); 1 when all masks are equal, at least 1/T.
            ``dice`` (the release): the mean over i != j of 2 sum(m n) / (sum m^2 + sum n^2);
            0 for T = 1.

    Returns:
        A scalar, the mean over the batch.

    Raises:
        ValueError: for another ``kind``.
    """
    check_choice("dissimilarity", kind, DISSIMILARITIES)
    flat, count = masks.flatten(2), masks.shape[1]
    with torch.autocast(device_type=masks.device.type, enabled=False):
        flat = flat.float() if flat.dtype in (torch.float16, torch.bfloat16) else flat
        products = flat @ flat.transpose(1, 2)
    squares = torch.diagonal(products, dim1=1, dim2=2)
    pair_squares = squares.unsqueeze(1) + squares.unsqueeze(2)
    if kind == "jaccard":
        return (products / (pair_squares - products).clamp_min(eps)).mean()
    if count == 1:
        return products.sum() * 0.0
    dice = 2 * products / pair_squares.clamp_min(eps)
    off_diagonal = dice.sum(dim=(1, 2)) - torch.diagonal(dice, dim1=1, dim2=2).sum(dim=1)
    return off_diagonal.mean() / (count * (count - 1))


def mask_weight(masks: Tensor, distance: str = "l1") -> Tensor:
    """The weight (N, h, w) that T masks (N, T, h, w) put on a coefficient's distance.

    (1/T) sum_i |m_i a - m_i b| = mean(m) |a - b|, and for the squared distance
    (1/T) sum_i (m_i a - m_i b)^2 = mean(m^2) (a - b)^2.
    """
    check_choice("distance", distance, DISTANCES)
    return masks.mean(dim=1) if distance == "l1" else masks.square().mean(dim=1)


def align_size(feat: Tensor, size: Sequence[int]) -> Tensor:
    """Bilinear resize of (N, C, h, w) to ``size`` (H, W), where it differs."""
    if tuple(feat.shape[-2:]) == tuple(size):
        return feat
    return F.interpolate(feat, size=tuple(size), mode="bilinear", align_corners=False)


def freekd_loss(
    student: Tensor,
    teacher: Tensor,
    masks: Optional[Sequence[Tensor]] = None,
    channel_weight: Optional[Tensor] = None,
    wavelet: str = "haar",
    dwt_levels: int = 3,
    dwt_mode: str = "zero",
    granularity: str = "band",
    bands: str = "all",
    distance: str = "l1",
) -> Tensor:
    """The distillation loss of one pyramid level, Eq. 13; without masks and weights, Eq. 3.

    sum over groups k of mean( omega (1/T) sum_i |m_{k,i} a_k - m_{k,i} b_k| ), the mean over all
    coefficients of a group (N, C, h, w, and the three orientations of a ``level``).

    Args:
        student, teacher: (N, C, H, W), aligned; no gradient flows into ``teacher``.
        masks: for each group of :func:`band_groups` (N, T, h, w), all groups whatever ``bands``.
        channel_weight: omega (N, C).
        wavelet, dwt_levels, dwt_mode: as :func:`freekd.frequency.dwt2`.
        granularity: ``band`` or ``level``.
        bands: which bands count: ``all``, ``high`` (without LL), ``low`` (LL alone).
        distance: ``l1`` (the paper) or ``l2``, the squared difference.

    Returns:
        A scalar, in float32 at least.

    Raises:
        ValueError: shapes differ, an unknown option, or a wrong number of masks.

    >>> feat = torch.ones(1, 2, 8, 8)  # L1 of two constant maps lives in LL alone: 2^3 |1 - 0|
    >>> round(float(freekd_loss(torch.zeros_like(feat), feat)), 4)
    8.0
    """
    check_choice("distance", distance, DISTANCES)
    if masks is not None and len(masks) != len(band_groups(dwt_levels, granularity)):
        raise ValueError(
            f"expected masks for {len(band_groups(dwt_levels, granularity))} groups "
            f"(dwt_levels={dwt_levels}, granularity={granularity!r}), got {len(masks)}"
        )
    weights = None if masks is None else [mask_weight(mask, distance) for mask in masks]
    return weighted_distance(
        student,
        teacher,
        weights,
        channel_weight,
        wavelet,
        dwt_levels,
        dwt_mode,
        granularity,
        bands,
        distance,
    )


def weighted_distance(
    student: Tensor,
    teacher: Tensor,
    weights: Optional[Sequence[Tensor]] = None,
    channel_weight: Optional[Tensor] = None,
    wavelet: str = "haar",
    dwt_levels: int = 3,
    dwt_mode: str = "zero",
    granularity: str = "band",
    bands: str = "all",
    distance: str = "l1",
) -> Tensor:
    """:func:`freekd_loss` with each group's T masks already reduced to one weight (N or 1, h, w).

    With Haar the value and its gradient come from one pass over the maps, see
    :mod:`freekd.frequency.haar_distance`; other wavelets, odd sizes with other modes than ``zero``,
    weights that want a gradient, and second derivatives take the general way by themselves.

    Raises:
        ValueError: shapes differ, an unknown option, or weights of another size than the bands.
    """
    if student.shape != teacher.shape or student.dim() != 4:
        raise ValueError(
            f"student {tuple(student.shape)} and teacher {tuple(teacher.shape)} must be aligned, "
            "both (N, C, H, W)"
        )
    check_choice("distance", distance, DISTANCES)
    teacher = teacher.detach()
    dtype = wide_dtype(student, teacher)
    if channel_weight is not None:
        if channel_weight.dim() != 2 or channel_weight.shape[1] != student.shape[1]:
            raise ValueError(
                f"channel_weight has the shape {tuple(channel_weight.shape)}, expected (N, C) = "
                f"{tuple(student.shape[:2])}"
            )
        channel_weight = channel_weight.to(dtype).expand(student.shape[:2])
    squared = distance == "l2"
    with torch.autocast(device_type=student.device.type, enabled=False):
        sizes = band_sizes(student.shape[-2:], wavelet, dwt_levels, dwt_mode)
        band_weights = _band_weights(
            weights, sizes, student, dtype, selected_groups(dwt_levels, granularity, bands)
        )
        if haar_applies(student.shape, wavelet, dwt_mode, dwt_levels) and can_fuse(
            student, dwt_levels, teacher, channel_weight, *band_weights
        ):
            return haar_distance(student, teacher, band_weights, channel_weight, squared)
        difference = student.to(dtype) - teacher.to(dtype)
        flat = dwt2(difference, wavelet, dwt_levels, dwt_mode).flat()
        return weighted_sum(flat, band_weights, channel_weight, squared)


def _band_weights(
    weights: Optional[Sequence[Tensor]],
    sizes: Sequence[Tuple[int, int]],
    student: Tensor,
    dtype: torch.dtype,
    groups: Sequence[Tuple[int, BandGroup]],
) -> List[Tensor]:
    """Per band (N or 1, h, w): the group's weight over the number of its coefficients, or 0."""
    out = [student.new_zeros((1, *size), dtype=dtype) for size in sizes]
    count, channels = student.shape[:2]
    for position, (name, members) in groups:
        height, width = sizes[members[0]]
        coefficients = max(1, count * channels * height * width * len(members))
        if weights is None:
            weight = student.new_full((1, height, width), 1 / coefficients, dtype=dtype)
        else:
            weight = weights[position].to(dtype) / coefficients
            if weight.shape[0] not in (1, count) or weight.shape[1:] != (height, width):
                raise ValueError(
                    f"the mask of {name} has (N, h, w) = {tuple(weight.shape)}, the band of a map "
                    f"{tuple(student.shape)} {(count, height, width)}"
                )
        for member in members:
            out[member] = weight
    return out
