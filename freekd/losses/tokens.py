"""Outputs of networks for classification as maps: tokens, class tokens, tuples of stages.

Networks tell a stage's output in several ways: a map (N, C, H, W); tokens (N, L, C), maybe with
class tokens before them; tokens beside their grid; a map beside its class token; a tuple of these,
one per stage.
"""

import math
from typing import Any, Optional, Sequence, Tuple

import torch
from torch import Tensor

from freekd.checks import FeatureError

MOST_EXTRA = 2  # class and distillation token before the others


def as_map(output: Any, key: str, index: int = -1, grid: Optional[Sequence[int]] = None) -> Tensor:
    """What a module gives as one map (N, C, H, W).

    Args:
        output: see the module.
        key: what it is called in errors.
        index: which one of a tuple of stages.
        grid: (H, W) of tokens that come without; None: a square.

    Raises:
        FeatureError: it is none of these; says what it is and what to do.

    >>> tuple(as_map(torch.zeros(2, 1 + 9, 5), "tap").shape)  # a class token and a grid of 3 x 3
    (2, 5, 3, 3)
    >>> tuple(as_map((torch.zeros(2, 6, 5), (2, 3)), "tap").shape)
    (2, 5, 2, 3)
    """
    if torch.is_tensor(output) and output.dim() == 4:
        return output
    if torch.is_tensor(output) and output.dim() == 3:
        return tokens_as_map(output, key, grid)
    if isinstance(output, (tuple, list)) and output:
        first = output[0]
        if len(output) == 2 and torch.is_tensor(first) and not torch.is_tensor(output[1]):
            return tokens_as_map(first, key, tuple(output[1]), extra=0)  # beside their grid
        if len(output) == 2 and _dims(first) == 4 and _dims(output[1]) == 2:  # its class token
            return as_map(first, key)
        if not -len(output) <= index < len(output):
            raise FeatureError(
                f"{key}: index={index}, but the module gives {len(output)} outputs. Give one of "
                f"them: 0 to {len(output) - 1}, or -1, the last"
            )
        return as_map(output[index], key, index, grid)
    shape = tuple(output.shape) if torch.is_tensor(output) else type(output).__name__
    raise FeatureError(
        f"{key}: expected a map (N, C, H, W) or tokens (N, L, C), got {shape}. Tap a module that "
        "gives one, such as a stage of the backbone, before pooling"
    )


def tokens_as_map(
    tokens: Tensor, key: str, grid: Optional[Sequence[int]] = None, extra: int = MOST_EXTRA
) -> Tensor:
    """Tokens (N, L, C), row by row, as a map (N, C, H, W); class tokens before them are dropped.

    Args:
        tokens: with L = H W, or up to ``extra`` more.
        key: what they are called in errors.
        grid: (H, W); None: a square.
        extra: how many class tokens there may be.

    Raises:
        FeatureError: L fits no such grid.
    """
    if tokens.dim() != 3:
        raise FeatureError(f"{key}: expected tokens (N, L, C), got {tuple(tokens.shape)}")
    count = tokens.shape[1]
    side = math.isqrt(count)
    height, width = (side, side) if grid is None else (int(grid[0]), int(grid[1]))
    before = count - height * width
    if not 0 <= before <= extra:
        raise FeatureError(
            f"{key}: {count} tokens are no grid of {height} x {width}, nor with up to {extra} "
            "class tokens before it. Give the grid's size that the data's images have"
        )
    tokens = tokens[:, before:]
    return tokens.transpose(1, 2).reshape(len(tokens), -1, height, width)


def as_tokens(feat: Tensor) -> Tensor:
    """A map (N, C, H, W) as tokens (N, H W, C), row by row."""
    return feat.flatten(2).transpose(1, 2)


def shape_of(output: Any, key: str, index: int = -1) -> Tuple[int, int, int]:
    """(C, H, W) of :func:`as_map`."""
    _, channels, height, width = as_map(output, key, index).shape
    return channels, height, width


def _dims(value: Any) -> int:
    return value.dim() if torch.is_tensor(value) else -1
