"""GPU kernels for the Haar transform and its distance: not written yet, so none is available."""

from typing import List, Optional, Sequence, Tuple

from torch import Tensor


def available(x: Tensor) -> bool:
    """Whether the kernels can take ``x``."""
    return False


def analysis(x: Tensor, levels: int) -> List[Tensor]:
    raise NotImplementedError


def synthesis(bands: Sequence[Tensor], size: Tuple[int, int]) -> Tensor:
    raise NotImplementedError


def distance_value(
    student: Tensor,
    teacher: Tensor,
    weights: Sequence[Tensor],
    channel_weight: Optional[Tensor],
    levels: int,
    squared: bool,
) -> Tensor:
    raise NotImplementedError


def distance_gradient(
    student: Tensor,
    teacher: Tensor,
    weights: Sequence[Tensor],
    channel_weight: Optional[Tensor],
    levels: int,
    squared: bool,
    grad_out: Tensor,
) -> Tensor:
    raise NotImplementedError
