"""FreeKD's loss of stage 2 written directly from the equations, to compare with.

Transforms by pytorch_wavelets; T masked copies of every band of both maps; nothing rearranged. Maps
of low precision are made float32 first: under autocast pytorch_wavelets' backward pass fails.
"""

from typing import List, Optional, Sequence, Tuple

import torch
from pytorch_wavelets import DWTForward
from torch import Tensor, nn
from torch.nn import functional as F

Groups = List[Tuple[Tensor, Tensor]]  # (summed for the prompt, stacked (N, C, o, h, w))


def transform(
    wavelet: str = "haar", levels: int = 3, mode: str = "zero", dtype: torch.dtype = torch.float32
) -> DWTForward:
    """pytorch_wavelets' module for J levels; it makes its filters in the default type."""
    default = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        return DWTForward(J=levels, wave=wavelet, mode=mode)
    finally:
        torch.set_default_dtype(default)


def groups_of(xfm: nn.Module, feat: Tensor, granularity: str) -> Groups:
    """LL_J first, then level 1 (finest) to J: each band, or a level's three bands together."""
    low, highs = xfm(feat)
    groups = [(low, low.unsqueeze(2))]
    for high in highs:  # (N, C, 3, h, w): LH, HL, HH
        if granularity == "level":
            groups.append((high.sum(dim=2), high))
        else:
            groups += [(high[:, :, o], high[:, :, o : o + 1]) for o in range(3)]
    return groups


def direct_gate(feats: Sequence[Tensor], mlps: Sequence[nn.Module]) -> List[Tensor]:
    """omega = G(softmax(psi(F) F^T / sqrt(HW))) of each level, Eq. 10-11."""
    weights = []
    for level, (feat, mlp) in enumerate(zip(feats, mlps)):
        height, width = feat.shape[-2:]
        context = feats[min(level + 1, len(feats) - 1)]
        context = F.interpolate(context, (height, width), mode="bilinear", align_corners=False)
        scores = torch.einsum("nchw,ndhw->ncd", context, feat) / (height * width) ** 0.5
        relation = torch.softmax(scores, dim=-1) * feat.shape[1]
        weights.append(2 * torch.sigmoid(mlp(relation).squeeze(-1)))
    return weights


def standardized(feat: Tensor, eps: float = 1e-6) -> Tensor:
    """Each channel over (N, H, W) to mean 0 and variance 1."""
    mean = feat.mean((0, 2, 3), keepdim=True)
    return (feat - mean) / (((feat - mean) ** 2).mean((0, 2, 3), keepdim=True) + eps).sqrt()


def direct_level(
    student: Tensor,
    teacher: Tensor,
    prompt: Optional[Tensor],
    channel_weight: Optional[Tensor] = None,
    xfm: Optional[nn.Module] = None,
    granularity: str = "band",
    distance: str = "l1",
    bands: str = "all",
    normalize: Optional[str] = None,
) -> Tensor:
    """One pyramid level of Eq. 13; without a prompt of Eq. 3.

    Args:
        student, teacher: (N, C, H, W).
        prompt: (G, T, C), or None.
        channel_weight: omega (N, C).
        xfm: see :func:`transform`.
        normalize: ``channel`` standardises what is compared; the masks see the raw teacher.
    """
    xfm = xfm or transform()
    raw = compared = groups_of(xfm, teacher, granularity)
    if normalize == "channel":
        student = standardized(student)
        compared = groups_of(xfm, standardized(teacher), granularity)
    own = groups_of(xfm, student, granularity)
    pairs = [(summed, a, b) for (summed, _), (_, a), (_, b) in zip(raw, compared, own)]
    total = student.new_zeros(())
    for k, (summed, a, b) in enumerate(pairs):
        if (bands == "high" and k == 0) or (bands == "low" and k > 0):
            continue
        if prompt is None:
            a, b = a.unsqueeze(1), b.unsqueeze(1)
        else:
            with torch.no_grad():
                mask = torch.sigmoid(torch.einsum("tc,nchw->nthw", prompt[k], summed))
            mask = mask[:, :, None, None]  # (N, T, 1, 1, h, w)
            a, b = mask * a.unsqueeze(1), mask * b.unsqueeze(1)  # (N, T, C, o, h, w)
        error = (a - b).abs() if distance == "l1" else (a - b).square()
        if channel_weight is not None:
            error = error * channel_weight[:, None, :, None, None, None]
        total = total + error.mean()
    return total


def direct_loss(
    student: Sequence[Tensor],
    teacher: Sequence[Tensor],
    prompts: Optional[Sequence[Tensor]],
    gate: Optional[Sequence[nn.Module]] = None,
    xfm: Optional[nn.Module] = None,
    granularity: str = "band",
    distance: str = "l1",
    bands: str = "all",
    normalize: Optional[str] = None,
) -> Tensor:
    """L_FreeKD of all pyramid levels, the gate's omega^r = omega^t omega^s without gradient."""
    with torch.autocast(student[0].device.type, enabled=False):
        return _direct_loss(
            [_wide(x) for x in student], [_wide(x.detach()) for x in teacher],
            prompts, gate, xfm, granularity, distance, bands, normalize,
        )  # fmt: skip


def _wide(x: Tensor) -> Tensor:
    return x.to(torch.promote_types(x.dtype, torch.float32))


def _direct_loss(
    student: Sequence[Tensor],
    teacher: Sequence[Tensor],
    prompts: Optional[Sequence[Tensor]],
    gate: Optional[Sequence[nn.Module]],
    xfm: Optional[nn.Module],
    granularity: str,
    distance: str,
    bands: str,
    normalize: Optional[str],
) -> Tensor:
    weights: List[Optional[Tensor]] = [None] * len(student)
    if gate is not None:
        with torch.no_grad():
            both = zip(direct_gate(teacher, gate), direct_gate(student, gate))
            weights = [t * s for t, s in both]
    total = torch.zeros((), device=student[0].device)
    for level, (s, t, weight) in enumerate(zip(student, teacher, weights)):
        prompt = None if prompts is None else prompts[level]
        total = total + direct_level(
            s, t, prompt, weight, xfm, granularity, distance, bands, normalize
        )
    return total
