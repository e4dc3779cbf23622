"""The CBAM gate: channels, then places (Woo et al., ECCV 2018, Eq. 1 to 3).

M_c = sigma( MLP(mean of places) + MLP(maximum of places) ), M_s = sigma( conv7x7 [mean; maximum of
channels] ) of M_c F, and the weight goes with their product. Here omega = 2 sqrt(M_c M_s): the last
layers start at zero, so that both start at 1/2 and the weight at 1; it stays within (0, 2).
"""

from typing import List, Sequence

import torch
from torch import Tensor, nn

from freekd.checks import check_integer
from freekd.gates.gate import GATES, Gate, hidden_channels, weights_of_levels, zero_start

_LEAST = 1e-30  # of the product below the root, whose slope at 0 is infinite


@GATES.register("cbam")
class CBAMGate(Gate):
    """Weights of channels times weights of places.

    Args:
        channels: C, one number for each level, which has its own layers.
        reduction: the hidden layer of the MLP has C / reduction units, at least 8. 16 is the
            paper's.
        kernel_size: of the convolution, odd. 7 is the paper's.

    Raises:
        ValueError: a reduction below 1, or a kernel that is not odd.
    """

    def __init__(self, channels: Sequence[int], reduction: int = 16, kernel_size: int = 7) -> None:
        super().__init__()
        check_integer("reduction", reduction, 2**15)
        check_integer("kernel_size", kernel_size, 31)
        if kernel_size % 2 == 0:
            raise ValueError(f"kernel_size must be odd, got {kernel_size}")
        self.channels = tuple(channels)
        self.mlps, self.convs = nn.ModuleList(), nn.ModuleList()
        for count in channels:
            hidden = hidden_channels(count, reduction)
            last = zero_start(nn.Linear(hidden, count))
            self.mlps.append(nn.Sequential(nn.Linear(count, hidden), nn.ReLU(), last))
            conv = nn.Conv2d(2, 1, kernel_size, padding=kernel_size // 2)
            self.convs.append(zero_start(conv))

    def forward(self, feats: Sequence[Tensor]) -> List[Tensor]:
        """Weights (N, C, H, W) in (0, 2) for each map, finest level first.

        Raises:
            ValueError: when the number of maps or their channels are not those of the gate.
        """
        return weights_of_levels(feats, self.channels, [self.mlps, self.convs], _weight)


def _weight(x: Tensor, mlp: nn.Module, conv: nn.Module) -> Tensor:
    pooled = mlp(x.mean(dim=(2, 3))) + mlp(x.amax(dim=(2, 3)))
    by_channel = torch.sigmoid(pooled)[:, :, None, None]
    x = x * by_channel
    both = torch.cat([x.mean(dim=1, keepdim=True), x.amax(dim=1, keepdim=True)], dim=1)
    by_place = torch.sigmoid(conv(both))
    del x, both  # where no gradient is wanted, before there are more of this size
    return 2 * (by_channel * by_place).clamp_min(_LEAST).sqrt()
