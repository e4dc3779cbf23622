"""The non-local gate: a place by the places it is like (Wang et al., CVPR 2018, Eq. 1, 4 and 6).

y = softmax( theta(F) phi(F)^T / sqrt(C') ) g(F) relates each place to all others; the block's last
layer W_z, which starts at zero as the paper's does, gives omega = 2 sigma( W_z y ): the weight
starts at 1 and stays within (0, 2). phi and g see the map averaged to a grid (the paper's
subsampling), so that the attention of a large map has H W x at most grid^2 entries.
"""

from itertools import product
from typing import List, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from freekd.checks import check_integer
from freekd.gates.gate import GATES, Gate, hidden_channels, weights_of_levels, zero_start

_PLACES = 2**8  # whose attention is worked on at a time: 0.25 MB with the 256 keys of grid=16


class _Block(nn.Module):
    """The embedded Gaussian form, for one level."""

    def __init__(self, channels: int, hidden: int, grid: int) -> None:
        super().__init__()
        self.grid = grid
        self.theta = nn.Conv2d(channels, hidden, 1)
        self.phi = nn.Conv2d(channels, hidden, 1)
        self.g = nn.Conv2d(channels, hidden, 1)
        self.last = zero_start(nn.Conv2d(hidden, channels, 1))

    def forward(self, x: Tensor) -> Tensor:
        """2 sigmoid(W_z y) (N, C, H, W).

        On a CPU, where no gradient is wanted, a few rows of an image at a time.
        """
        height, width = x.shape[2:]
        few = F.adaptive_avg_pool2d(x, (min(height, self.grid), min(width, self.grid)))
        keys, values = self.phi(few).flatten(2), self.g(few).flatten(2).transpose(1, 2)
        if x.device.type != "cpu" or torch.is_grad_enabled():
            return self._related(x, keys, values)
        out, rows = torch.empty_like(x), max(1, _PLACES // width)
        for n, first in product(range(len(x)), range(0, height, rows)):
            part = (slice(n, n + 1), slice(None), slice(first, first + rows))
            out[part] = self._related(x[part], keys[n : n + 1], values[n : n + 1])
        return out

    def _related(self, x: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        """:meth:`forward` at some places x, by the keys (N, C', K) and values (N, K, C')."""
        queries = self.theta(x).flatten(2).transpose(1, 2)
        attention = torch.softmax(queries @ keys / keys.shape[1] ** 0.5, dim=-1)
        related = (attention @ values).transpose(1, 2).unflatten(2, x.shape[2:])
        out: Tensor = 2 * torch.sigmoid(self.last(related))
        return out


@GATES.register("nonlocal")
class NonLocalGate(Gate):
    """Weights of channels and places from a non-local block.

    Args:
        channels: C, one number for each level, which has its own block.
        reduction: theta, phi and g have C / reduction channels, at least 8. 2 is the paper's.
        grid: phi and g see at most grid x grid places.

    Raises:
        ValueError: an option below 1.
    """

    def __init__(self, channels: Sequence[int], reduction: int = 2, grid: int = 16) -> None:
        super().__init__()
        check_integer("reduction", reduction, 2**15)
        check_integer("grid", grid, 64)
        self.channels = tuple(channels)
        self.blocks = nn.ModuleList(
            _Block(count, hidden_channels(count, reduction), grid) for count in channels
        )

    def forward(self, feats: Sequence[Tensor]) -> List[Tensor]:
        """Weights (N, C, H, W) in (0, 2) for each map, finest level first.

        Raises:
            ValueError: when the number of maps or their channels are not those of the gate.
        """
        return weights_of_levels(
            feats, self.channels, [self.blocks], lambda feat, block: block(feat)
        )
