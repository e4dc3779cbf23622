"""What every transform asks of a map (..., H, W), and the error that says what came instead."""

from typing import Sequence, Tuple

import torch
from torch import Tensor

from freekd.widen import widened


def float_map(x: Tensor, what: str) -> Tensor:
    """``x`` (..., H, W) in float32 at least.

    Raises:
        ValueError: no tensor of real numbers with two axes of at least 1; ``what`` names who asks.
    """
    if not torch.is_tensor(x) or x.dim() < 2:
        came = tuple(x.shape) if torch.is_tensor(x) else type(x).__name__
        raise ValueError(f"{what} needs a tensor (..., H, W), got {came}")
    if not x.is_floating_point():
        raise ValueError(f"{what} needs a real floating-point tensor, got {x.dtype}")
    if 0 in x.shape[-2:]:
        raise ValueError(f"{what} needs a map of at least 1x1, got {tuple(x.shape)}")
    return widened(x)


def map_size(size: Sequence[int], what: str) -> Tuple[int, int]:
    """(H, W) of a shape (..., H, W).

    Raises:
        ValueError: no map of at least 1x1; ``what`` names who asks.
    """
    if len(size) < 2 or 0 in size[-2:]:
        raise ValueError(f"{what} needs a map (..., H, W) of at least 1x1, got {tuple(size)}")
    return size[-2], size[-1]
