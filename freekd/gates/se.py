"""The squeeze-and-excitation gate: channels by their means (Hu et al., CVPR 2018, Eq. 2 and 3).

omega = 2 sigma( W_2 relu( W_1 z ) ), z the mean of each channel over its places. The last layer
starts at zero: the weight starts at 1 and stays within (0, 2).
"""

from typing import List, Sequence

import torch
from torch import Tensor, nn

from freekd.checks import check_integer
from freekd.gates.gate import GATES, Gate, hidden_channels, weights_of_levels, zero_start


@GATES.register("se")
class SqueezeExcitationGate(Gate):
    """Channel weights from the mean of each channel.

    Args:
        channels: C, one number for each level, which has its own layers.
        reduction: the hidden layer has C / reduction units, at least 8. 16 is the paper's.

    Raises:
        ValueError: a reduction below 1.
    """

    def __init__(self, channels: Sequence[int], reduction: int = 16) -> None:
        super().__init__()
        check_integer("reduction", reduction, 2**15)
        self.channels = tuple(channels)
        self.mlps = nn.ModuleList()
        for count in channels:
            hidden = hidden_channels(count, reduction)
            last = zero_start(nn.Linear(hidden, count))
            self.mlps.append(nn.Sequential(nn.Linear(count, hidden), nn.ReLU(), last))

    def forward(self, feats: Sequence[Tensor]) -> List[Tensor]:
        """Weights (N, C, 1, 1) in (0, 2) for each map (N, C, H, W), finest level first.

        Raises:
            ValueError: when the number of maps or their channels are not those of the gate.
        """
        return weights_of_levels(feats, self.channels, [self.mlps], _weight)


def _weight(feat: Tensor, mlp: nn.Module) -> Tensor:
    return 2 * torch.sigmoid(mlp(feat.mean(dim=(2, 3))))[:, :, None, None]
