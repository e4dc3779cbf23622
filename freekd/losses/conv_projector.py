"""Projectors of convolutions, from a map to one of the same shape."""

from torch import Tensor, nn


class ConvProjector(nn.Module):
    """Two 3x3 convolutions with a ReLU between them, (N, C, H, W) to the same shape."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, feat: Tensor) -> Tensor:
        out: Tensor = self.conv2(self.conv1(feat).relu_())
        return out


class EnhancedProjector(nn.Module):
    """The mean of a convolution of a and one of b: a = relu(conv(x)), b = relu(conv(a))."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.block1 = nn.Conv2d(channels, channels, 3, padding=1)
        self.block2 = nn.Conv2d(channels, channels, 3, padding=1)
        self.adapt1 = nn.Conv2d(channels, channels, 3, padding=1)
        self.adapt2 = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, feat: Tensor) -> Tensor:
        a = self.block1(feat).relu()
        b = self.block2(a).relu_()
        out: Tensor = (self.adapt1(a) + self.adapt2(b)) / 2
        return out
