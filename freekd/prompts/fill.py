"""What stands in stage 1 for a coefficient that is masked out.

With m = sum_i m_i the sum of a band's masks, the masked band is R^ = m R + (1 - m)_+ f, and f is

    zero    0, the published form: R^ = m R
    mean    mu, the mean of the channel in that band
    noise   mu + sd n, with n drawn from N(0, 1) for each coefficient and sd the channel's standard
            deviation in that band: an information bottleneck, since what is masked out says nothing
            and still looks like a coefficient. Evaluation uses mu.

mu and sd are over all images and positions seen in training, see :mod:`.running`; before the first
batch they are 0. They are stage 1's alone: a prompt file does not have them.
"""

from typing import Optional, Sequence

import torch
from torch import Tensor, nn

from freekd.checks import check_choice
from freekd.frequency import Bands

from .running import RunningMeans
from .spec import PromptSpec

FILLS = ("zero", "mean", "noise")


class MeanFill(nn.Module):
    """f = mu.

    Args:
        spec: of the prompts whose bands are masked.
    """

    def __init__(self, spec: PromptSpec) -> None:
        super().__init__()
        bands = len(spec.transform.names)
        shapes = [(bands, 2, channels) for channels in spec.channels]
        self.moments = RunningMeans(shapes, torch.float64)  # E R and E R^2

    @torch.no_grad()
    def observe(self, bands: Sequence[Bands]) -> None:
        """Take in a training batch: the bands of each pyramid level."""
        moments, counts = [], []
        for level in bands:
            pairs = [torch.var_mean(band, (0, 2, 3), unbiased=False) for band in level.flat()]
            rows = [(mean.double(), var.double() + mean.double() ** 2) for var, mean in pairs]
            moments.append(torch.stack([torch.stack(row) for row in rows]))
            counts.append(max(band[:, 0].numel() for band in level.flat()))
        self.moments.update(moments, counts)

    def forward(self, level: int, band: int, coefficients: Tensor) -> Tensor:
        """f for the coefficients (N, C, h, w) of a band; broadcasts to them."""
        mean = self.moments.mean(level)[band, 0].to(coefficients.dtype)
        return mean.view(-1, 1, 1)


class NoiseFill(MeanFill):
    """f = mu + sd n in training, mu in evaluation."""

    def draw(self, coefficients: Tensor) -> Tensor:
        """n: standard normal numbers of the coefficients' shape, from torch's generator."""
        return torch.randn_like(coefficients)

    def forward(self, level: int, band: int, coefficients: Tensor) -> Tensor:
        """f, (N, C, h, w) in training."""
        fill = super().forward(level, band, coefficients)
        if not self.training:
            return fill
        moments = self.moments.mean(level)[band]
        deviation = (moments[1] - moments[0].square()).clamp_min(0).sqrt().to(coefficients.dtype)
        return fill + deviation.view(-1, 1, 1) * self.draw(coefficients.detach())


def build_fill(fill: str, spec: PromptSpec, key: str = "fill") -> Optional[MeanFill]:
    """The module of one of ``FILLS``; None for ``zero``.

    Raises:
        ValueError: another one; names ``key``.
    """
    check_choice(key, fill, FILLS)
    kinds = {"mean": MeanFill, "noise": NoiseFill}
    return kinds[fill](spec) if fill in kinds else None
