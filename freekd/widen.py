"""Float32 at least: what low-precision maps are computed in. Pure torch."""

import torch
from torch import Tensor


def wide_dtype(*maps: Tensor) -> torch.dtype:
    """What maps are computed in: float64 where one is, else float32."""
    return torch.float64 if any(x.dtype == torch.float64 for x in maps) else torch.float32


def widened(x: Tensor) -> Tensor:
    """``x`` in float32 at least; itself where it is that already.

    >>> widened(torch.zeros(1, dtype=torch.float16)).dtype
    torch.float32
    """
    return x.to(wide_dtype(x))
