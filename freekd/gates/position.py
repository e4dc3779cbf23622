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

from freekd.checks import check_integer
from freekd.frequency.butterfly import maps_at_a_time
from freekd.gates.gate import GATES, Gate, check_maps, hidden_channels, zero_start


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
        if coarse != size and _adjoint_pays(feat, context):
            feat = _resize_adjoint(feat, coarse)
        elif coarse != size:
            context = F.interpolate(context, size=size, mode="bilinear", align_corners=False)
        scores = context.flatten(2) @ feat.flatten(2).transpose(1, 2)
        return torch.softmax(scores / (size[0] * size[1]) ** 0.5, dim=-1)


def _adjoint_pays(feat: Tensor, context: Tensor) -> bool:
    """Whether to take the product on the coarser map: psi(F') F^T = F' (psi^T F)^T.

    psi is linear, so both are the same, and the latter has four times fewer positions. On a GPU
    torch's own psi^T adds atomically, in any order, so only ours is taken there, of twice the size.
    Autograd has no derivative for psi^T, so stage 1 resizes.
    """
    learning = torch.is_grad_enabled() and (feat.requires_grad or context.requires_grad)
    (height, width), (coarse_height, coarse_width) = feat.shape[-2:], context.shape[-2:]
    if feat.device.type != "cpu":
        return not learning and (height, width) == (2 * coarse_height, 2 * coarse_width)
    return not learning and coarse_height * coarse_width < height * width


def _resize_adjoint(feat: Tensor, coarse: Sequence[int]) -> Tensor:
    """psi^T of (N, C, H, W), of the bilinear resize from ``coarse`` (h, w) to (H, W)."""
    height, width = feat.shape[-2:]
    if (height, width) != (2 * coarse[0], 2 * coarse[1]):
        shape = (*feat.shape[:2], *coarse)
        return torch.ops.aten.upsample_bilinear2d_backward(  # type: ignore[no-any-return]
            feat.contiguous(), (height, width), shape, False
        )
    maps = feat.reshape(-1, height, width)
    out = maps.new_empty(len(maps), *coarse)
    step = maps_at_a_time(height, width, feat)
    for first in range(0, len(maps), step):
        rows = _halve_rows(maps[first : first + step])
        out[first : first + step] = _halve_rows(rows.transpose(1, 2)).transpose(1, 2)
    return out.view(*feat.shape[:2], *coarse)


def _halve_rows(x: Tensor) -> Tensor:
    """The adjoint of doubling h rows, (M, 2h, W) to (M, h, W).

    Doubling makes rows 2i and 2i + 1 of 3/4 of row i and 1/4 of its neighbour before, or after; at
    the ends, of row i itself. So row i gathers 3/4 of those two and 1/4 of the ones beside them.
    """
    out = (x[:, 0::2] + x[:, 1::2]).mul_(0.75)
    out[:, 1:].add_(x[:, 1:-1:2], alpha=0.25)
    out[:, :-1].add_(x[:, 2::2], alpha=0.25)
    out[:, 0].add_(x[:, 0], alpha=0.25)
    out[:, -1].add_(x[:, -1], alpha=0.25)
    return out


@GATES.register("position")
class PositionGate(Gate):
    """Channel weights omega = G(A) for each level of a pyramid, Eq. 11.

    Args:
        channels: C, the same on all levels; one number for each level, which has its own G.
        reduction: the hidden layer of G has C / reduction units, at least 8.

    Raises:
        ValueError: channels that differ, or a reduction below 1.
    """

    same_channels = True

    def __init__(self, channels: Sequence[int], reduction: int = 4) -> None:
        super().__init__()
        check_integer("reduction", reduction, 2**15)
        if len(set(channels)) != 1:
            raise ValueError(f"channels must be the same on all levels, got {tuple(channels)}")
        self.channels = channels[0]
        hidden = hidden_channels(self.channels, reduction)
        self.mlps = nn.ModuleList()
        for _ in channels:
            last = zero_start(nn.Linear(hidden, 1))
            self.mlps.append(nn.Sequential(nn.Linear(self.channels, hidden), nn.ReLU(), last))

    def forward(self, feats: Sequence[Tensor]) -> List[Tensor]:
        """Weights (N, C, 1, 1) in (0, 2) for each map (N, C, H, W), finest level first.

        Raises:
            ValueError: when the number of maps or their channels are not those of the gate.
        """
        check_maps(feats, [self.channels] * len(self.mlps))
        weights = []
        for level, (feat, mlp) in enumerate(zip(feats, self.mlps)):
            context = feats[min(level + 1, len(feats) - 1)]  # the last level uses itself
            relation = channel_relation(feat, context)
            with torch.autocast(device_type=feat.device.type, enabled=False):
                # entries of a row are about 1/C: scaled to be about 1
                weight = 2 * torch.sigmoid(mlp(relation * self.channels).squeeze(-1))
            weights.append(weight[:, :, None, None])
        return weights
