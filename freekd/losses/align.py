"""phi: from the student's feature maps to the teacher's channels and sizes (beside Eq. 3)."""

from typing import List, Optional, Sequence, Tuple, Union

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from freekd.checks import FeatureError, check_choice
from freekd.widen import widened

Feats = Union[Tensor, Sequence[Tensor]]
ALIGNMENTS = ("auto", None, "conv1x1")
NORMALIZATIONS = (None, "channel")


def build_align(
    align: Optional[str], student_channels: Sequence[int], teacher_channels: Sequence[int]
) -> Optional[nn.ModuleList]:
    """A 1x1 convolution per pyramid level, or None where channels agree.

    Args:
        align: ``auto``, convolutions where channels differ; ``conv1x1``, always; None, never. Where
            channels agree a convolution starts as the identity.
        student_channels, teacher_channels: one number per level.

    Raises:
        ValueError: ``align=None`` and channels differ; names the config key.
    """
    check_choice("align", align, ALIGNMENTS)
    pairs = list(zip(student_channels, teacher_channels))
    differ = any(student != teacher for student, teacher in pairs)
    if align is None and differ:
        raise ValueError(
            f"align=None, but student_channels={student_channels} differ from "
            f"teacher_channels={teacher_channels}; use align='auto'"
        )
    if align is None or (align == "auto" and not differ):
        return None
    convs = [nn.Conv2d(student, teacher, 1) for student, teacher in pairs]
    for conv in convs:
        if conv.in_channels == conv.out_channels and conv.bias is not None:
            nn.init.dirac_(conv.weight)
            nn.init.zeros_(conv.bias)
    return nn.ModuleList(convs)


def aligned_levels(
    student: Sequence[Tensor], teacher: Sequence[Tensor], convs: Optional[nn.ModuleList]
) -> List[Tensor]:
    """The student's maps after phi: the 1x1 convolution, then a bilinear resize.

    In float32 at least where there is something to compute; a map that is aligned already is
    given back as it is.

    Args:
        student: (N, C_s, H_s, W_s) per level.
        teacher: (N, C, H, W) per level: whose sizes are taken.
        convs: of :func:`build_align`.
    """
    out = []
    for level, (feat, target) in enumerate(zip(student, teacher)):
        if convs is not None or feat.shape[-2:] != target.shape[-2:]:
            feat = widened(feat)
        if convs is not None:
            feat = convs[level](feat)
        out.append(align_size(feat, target.shape[-2:]))
    return out


def check_levels(feats: Feats, channels: Tuple[int, ...], who: str, loss: str) -> List[Tensor]:
    """The maps of one side as a list, checked against the config.

    Args:
        feats: (N, C, H, W), or one such per pyramid level.
        channels: expected, one number per level.
        who: ``student`` or ``teacher``.
        loss: the loss's name, for errors.

    Raises:
        FeatureError: levels or channels are others; names both numbers and the key.
    """
    levels = [feats] if torch.is_tensor(feats) else list(feats)
    if len(levels) != len(channels):
        raise FeatureError(
            f"{loss}: the {who} module gives {len(levels)} feature maps, num_levels={len(channels)}"
        )
    for level, (feat, expected) in enumerate(zip(levels, channels)):
        if not torch.is_tensor(feat) or feat.dim() != 4 or feat.shape[1] != expected:
            came = tuple(feat.shape) if torch.is_tensor(feat) else type(feat).__name__
            raise FeatureError(
                f"{loss}: {who} level {level}: expected (N, {expected}, H, W) as "
                f"{who}_channels says, got {came}"
            )
    return levels


def standardize(feat: Tensor, eps: float = 1e-6) -> Tensor:
    """Each channel of (N, C, H, W) to mean 0 and variance 1 over (N, H, W), in float32 at least."""
    # torch's batch norm in training mode, without its own weights: one kernel each way
    feat = widened(feat).contiguous()  # in channels_last its statistics on a CPU lose digits
    return torch.batch_norm(feat, None, None, None, None, True, 0.0, eps, False)


def as_teacher_scaled(student: Tensor, teacher: Tensor) -> Tensor:
    """The student's map (N, C, H, W), each channel with the teacher's mean and deviation."""
    mean, deviation = (
        of(widened(teacher), dim=(0, 2, 3), keepdim=True) for of in (torch.mean, torch.std)
    )
    return standardize(student) * deviation + mean


def align_size(feat: Tensor, size: Sequence[int]) -> Tensor:
    """Bilinear resize of (N, C, h, w) to ``size`` (H, W), where it differs."""
    if tuple(feat.shape[-2:]) == tuple(size):
        return feat
    return F.interpolate(feat, size=tuple(size), mode="bilinear", align_corners=False)
