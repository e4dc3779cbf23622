"""The position-aware relational gate: how much each channel counts (Eq. 10-12).

A = softmax(psi(F) F^T / sqrt(HW)) relates every channel of the next, coarser, map of the pyramid
to every channel of this one; G turns it into a weight per channel. The product is scaled, or the
softmax saturates on large maps. G ends in 2 sigmoid(.), its last layer starts at zero: the weight
starts at 1 and stays within (0, 2).
"""

from typing import List, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def channel_relation(feat: Tensor, context: Tensor) -> Tensor:
    """A = softmax(psi(F) F^T / sqrt(HW)), Eq. 10.

    Args:
        feat: F (N, C, H, W).
        context: the next, coarser, map (N, C, H', W'); psi resizes it to (H, W), bilinearly.

    Returns:
        (N, C, C); row c says which channels of ``feat`` channel c of ``context`` goes with; a row
        sums to 1.

    Raises:
        ValueError: when the channel numbers differ.
    """
    if feat.shape[:2] != context.shape[:2]:
        raise ValueError(
            "gate='position' relates each pyramid level to the next one, so all levels need the "
            f"same channels; got {tuple(feat.shape)} and {tuple(context.shape)}. Use gate=None."
        )
    with torch.autocast(device_type=feat.device.type, enabled=False):
        feat, context = feat.float(), context.float()
        size, coarse = feat.shape[-2:], context.shape[-2:]
        if coarse != size:
            if _adjoint_pays(feat, context):
                feat = torch.ops.aten.upsample_bilinear2d_backward(
                    feat.contiguous(), size, context.shape, False
                )
            else:
                context = F.interpolate(context, size=size, mode="bilinear", align_corners=False)
        scores = context.flatten(2) @ feat.flatten(2).transpose(1, 2)
        return torch.softmax(scores / (size[0] * size[1]) ** 0.5, dim=-1)


def _adjoint_pays(feat: Tensor, context: Tensor) -> bool:
    """psi is linear: psi(F') F^T = F' (psi^T F)^T, a product of four times fewer positions.

    psi^T is the backward pass of the resize. It pays on CPUs; on GPUs it adds atomically, in any
    order, and the product is cheap. Autograd has no derivative for it, so stage 1 resizes.
    """
    learning = torch.is_grad_enabled() and (feat.requires_grad or context.requires_grad)
    coarser = context.shape[-2:].numel() < feat.shape[-2:].numel()
    return feat.device.type == "cpu" and coarser and not learning


class PositionGate(nn.Module):
    """Channel weights omega = G(A) for each level of a pyramid, Eq. 11.

    Args:
        channels: C, the same on all levels.
        num_levels: number of pyramid levels; each has its own G.
        reduction: the hidden layer of G has C / reduction units, at least 8.

    Learned in stage 1, where the teacher's task loss judges it, and frozen in stage 2
    (:class:`freekd.models.losses.FreeKDLoss` computes it without gradient), so that the
    distillation loss cannot be lowered through it.
    """

    def __init__(self, channels: int, num_levels: int, reduction: int = 4) -> None:
        super().__init__()
        self.channels = channels
        hidden = max(channels // reduction, 8)
        self.mlps = nn.ModuleList()
        for _ in range(num_levels):
            last = nn.Linear(hidden, 1)
            nn.init.zeros_(last.weight)
            nn.init.zeros_(last.bias)
            self.mlps.append(nn.Sequential(nn.Linear(channels, hidden), nn.ReLU(), last))

    def forward(self, feats: Sequence[Tensor]) -> List[Tensor]:
        """Weights (N, C) in (0, 2) for each map (N, C, H, W), finest level first.

        Raises:
            ValueError: when the number of maps or their channels are not those of the gate.
        """
        if len(feats) != len(self.mlps):
            raise ValueError(f"the gate has {len(self.mlps)} levels, got {len(feats)} feature maps")
        weights = []
        for level, (feat, mlp) in enumerate(zip(feats, self.mlps)):
            if feat.shape[1] != self.channels:
                raise ValueError(
                    f"the gate was made for {self.channels} channels, level {level} has "
                    f"{feat.shape[1]}"
                )
            context = feats[min(level + 1, len(feats) - 1)]  # the last level uses itself
            relation = channel_relation(feat, context)
            with torch.autocast(device_type=feat.device.type, enabled=False):
                # entries of a row are about 1/C: scaled to be about 1
                weights.append(2 * torch.sigmoid(mlp(relation * self.channels).squeeze(-1)))
        return weights
