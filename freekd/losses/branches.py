"""Branches from a stage in the middle of a network to class logits, for students of any family.

A branch of stage i of four makes logits of what the stage gives: maps (N, c, h, w) of convolutional
networks, tokens (N, L, d) of transformers and mixers, with or without a class token before them.
"""

from typing import Any, Optional, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from freekd.checks import FeatureError

from .tokens import first_tensor, grid_side, told

STAGES = (1, 2, 3, 4)
HEADS = 4  # of the attention of a token branch
SMALLEST = 7  # side of the grid below which tokens are not merged


def stage_output(output: Any, key: str) -> Tensor:
    """What a tapped stage gave: a map, or tokens, maybe beside their grid's size.

    Raises:
        FeatureError: neither; names the tap.
    """
    output = first_tensor(output)
    if torch.is_tensor(output) and output.dim() in (3, 4):
        feat: Tensor = output
        return feat
    raise FeatureError(
        f"{key}: expected a map (N, C, H, W) or tokens (N, L, C), got {told(output)}. Tap a stage "
        "of the backbone, or its last block"
    )


def branch(
    shape: Sequence[int], stage: int, student_dim: int, width: int, classes: int, key: str
) -> nn.Module:
    """The branch for a stage that gives this.

    Args:
        shape: of one image's output: (C,) or (C, H, W) of maps, (L, C) of tokens.
        stage: 1 to 4.
        student_dim: channels of the student's last feature: what tokens are brought to.
        width: channels that maps are brought to.
        classes: K.
        key: of the stage, for errors.

    Raises:
        FeatureError: tokens of no square grid, or that cannot be merged; says what came.
    """
    if len(shape) == 2:
        return TokenBranch(shape[0], shape[1], stage, student_dim, classes, key)
    return MapBranch(shape[0], stage, width, classes)


class SeparableBlock(nn.Module):
    """Half the resolution: two depthwise 3x3 convolutions, each with a 1x1 one, BN and ReLU."""

    def __init__(self, channels: int, out: int) -> None:
        super().__init__()
        self.dw1 = nn.Conv2d(channels, channels, 3, 2, 1, groups=channels, bias=False)
        self.pw1 = nn.Conv2d(channels, channels, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.dw2 = nn.Conv2d(channels, channels, 3, 1, 1, groups=channels, bias=False)
        self.pw2 = nn.Conv2d(channels, out, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(out)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) to (N, out, ceil(H / 2), ceil(W / 2))."""
        x = self.bn1(self.pw1(self.dw1(x))).relu()
        out: Tensor = self.bn2(self.pw2(self.dw2(x))).relu()
        return out


class MapBranch(nn.Module):
    """Of maps (N, c, h, w): 4 - i separable blocks, mean over the places, a linear layer.

    Block b maps c 2^b channels to c 2^(b+1), the last one to ``width``; stage 4 has a 1x1
    convolution in their place.
    """

    def __init__(self, channels: int, stage: int, width: int, classes: int) -> None:
        super().__init__()
        count = 4 - stage
        self.channels = channels
        self.blocks = nn.ModuleList(
            SeparableBlock(channels * 2**b, width if b == count - 1 else channels * 2 ** (b + 1))
            for b in range(count)
        )
        self.pointwise = nn.Conv2d(channels, width, 1) if count == 0 else None
        self.head = nn.Linear(width, classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        _init_linear(self.head)

    def check(self, shape: Sequence[int], key: str) -> None:
        """Raise FeatureError unless the branch is made for outputs of this shape."""
        if len(shape) != 4 or shape[1] != self.channels:
            raise FeatureError(
                f"{key}={self.channels}: expected maps (N, {self.channels}, H, W), got "
                f"{tuple(shape)}. Correct the number, or tap another module"
            )

    def forward(self, x: Tensor) -> Tensor:
        """Logits (N, K)."""
        for block in self.blocks:
            x = block(x)
        mean = x.mean((2, 3))
        if self.pointwise is not None:  # of the mean: the convolution is linear, and this is small
            mean = F.linear(mean, self.pointwise.weight.flatten(1), self.pointwise.bias)
        out: Tensor = self.head(mean)
        return out


class Merge(nn.Module):
    """2x2 neighbours of a grid side by side, LayerNorm, a linear layer, and a GELU if asked."""

    def __init__(self, width: int, out: int, active: bool) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(4 * width)
        self.reduce = nn.Linear(4 * width, out, bias=False)
        self.active = active

    def forward(self, x: Tensor, side: int) -> Tensor:
        """(N, side^2, d) to (N, side^2 / 4, out); (row, column) even-even, odd-even, even-odd."""
        grid = x.reshape(len(x), side // 2, 2, side // 2, 2, -1)  # n, row, its parity, column, ...
        x = grid.permute(0, 1, 3, 4, 2, 5).reshape(len(x), side * side // 4, -1)
        x = self.reduce(self.norm(x))
        return F.gelu(x) if self.active else x


class TokenBlock(nn.Module):
    """A pre-norm transformer block: x += attention(LN(x)), x += MLP(LN(x))."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width)
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.attn_out = nn.Linear(width, width)
        self.norm2 = nn.LayerNorm(width)
        self.mlp_in = nn.Linear(width, 4 * width)
        self.mlp_out = nn.Linear(4 * width, width)

    def forward(self, x: Tensor, first: Optional[int] = None) -> Tensor:
        """(N, L, d); with ``first``, of so many tokens alone, which attend to all of them."""
        count, length, width = x.shape
        qkv = self.qkv(self.norm1(x)).view(count, length, 3, HEADS, width // HEADS)
        query, key, value = qkv.permute(2, 0, 3, 1, 4)
        query = query[:, :, :first] * (width // HEADS) ** -0.5
        attended = (query @ key.transpose(-1, -2)).softmax(-1) @ value
        x = x[:, :first] + self.attn_out(attended.transpose(1, 2).flatten(2))
        out: Tensor = x + self.mlp_out(F.gelu(self.mlp_in(self.norm2(x))))
        return out


class TokenBranch(nn.Module):
    """Of tokens (N, L, d): merged down to a grid of 7 to 13 a side, transformer blocks, linear.

    With a class token, L = g^2 + 1, that is set aside while the others are merged, and is what the
    linear layer gets; without one, L = g^2, the mean over all tokens is.
    """

    def __init__(
        self, length: int, width: int, stage: int, student_dim: int, classes: int, key: str
    ) -> None:
        super().__init__()
        self.length, self.width, self.side = length, width, grid_side(length, extra=1)
        self.extra = length - self.side**2
        if not self.side:
            raise FeatureError(
                f"{key}: {length} tokens are no square grid, with or without one class token. "
                "Train on square images; students with a distillation token are not supported"
            )
        merges = 0
        while self.side >= SMALLEST * 2 ** (merges + 1):
            merges += 1
        if self.side % 2**merges:
            raise FeatureError(
                f"{key}: a grid of {self.side}x{self.side} tokens cannot be merged {merges} times "
                f"by 2x2. Train on images whose grids have sides divisible by {2**merges}"
            )
        if (self.extra or not merges) and width != student_dim:
            raise FeatureError(
                f"{key}: the tokens have {width} channels, student_dim={student_dim}: with a class "
                "token, or on a grid too small to be merged, they must be equal. Correct "
                "student_dim"
            )
        if student_dim % HEADS:
            raise FeatureError(f"{key}: student_dim={student_dim} is not divisible by {HEADS}")
        self.merges = nn.ModuleList(
            Merge(student_dim if j else width, student_dim, active=j == 0 or j < merges - 1)
            for j in range(merges)
        )
        self.blocks = nn.ModuleList(TokenBlock(student_dim) for _ in range(max(4 - stage, 1)))
        self.head = nn.Linear(student_dim, classes)
        for module in self.modules():
            if isinstance(module, nn.Linear):
                _init_linear(module)

    def check(self, shape: Sequence[int], key: str) -> None:
        """Raise FeatureError unless the branch is made for outputs of this shape."""
        if tuple(shape[1:]) != (self.length, self.width):
            raise FeatureError(
                f"{key}=({self.length}, {self.width}): expected tokens (N, {self.length}, "
                f"{self.width}), got {tuple(shape)}. Correct the numbers, or train on images of "
                "another size"
            )

    def forward(self, x: Tensor) -> Tensor:
        """Logits (N, K)."""
        classes, x = x[:, : self.extra], x[:, self.extra :]
        side = self.side
        for merge in self.merges:
            x, side = merge(x, side), side // 2
        x = torch.cat([classes, x], dim=1) if self.extra else x
        *blocks, last = self.blocks
        for block in blocks:
            x = block(x)
        x = last(x, self.extra or None)  # after it the class token alone is read
        out: Tensor = self.head(x[:, 0] if self.extra else x.mean(1))
        return out


def _init_linear(layer: nn.Linear) -> None:
    """Truncated normal of standard deviation 0.02 (cut at 2, not at two of these); bias 0."""
    nn.init.trunc_normal_(layer.weight, std=0.02)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
