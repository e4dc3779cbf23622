"""One map of what a backbone gave, for losses that take a tap's output as it is."""

from math import isqrt
from typing import Any

import torch
from torch import Tensor

from freekd.checks import FeatureError

MOST = 64  # outputs of a backbone


def check_index(key: str, value: Any) -> None:
    """Raise ValueError, naming the key, unless ``value`` can be the index of an output."""
    if not isinstance(value, int) or isinstance(value, bool) or not -MOST <= value < MOST:
        raise ValueError(f"{key} must be an integer, such as -1 for the last output, got {value!r}")


def map_at(output: Any, index: int, key: str) -> Tensor:
    """The map (N, C, H, W) of a backbone's output ``index``.

    Args:
        output: a map; or a tuple, one entry for each output: a map, a pair of a map and a class
            token (ViT and its like in mmcls), or tokens (N, C, L) of a square grid (MLP-Mixer).
        index: of the entry; -1, the last.
        key: of the index in the config, for errors.

    Raises:
        FeatureError: no such entry, or it is no map; says what there is.

    >>> feat = torch.zeros(2, 8, 3, 3)
    >>> map_at(([feat, torch.zeros(2, 8)],), -1, "index") is feat
    True
    >>> map_at((feat, torch.zeros(2, 16, 49)), 1, "index").shape
    torch.Size([2, 16, 7, 7])
    """
    outputs = list(output) if isinstance(output, (tuple, list)) else [output]
    if not -len(outputs) <= index < len(outputs):
        raise FeatureError(
            f"{key}={index}: the tapped module gives {len(outputs)} outputs, {told(output)}. Give "
            f"an index from {-len(outputs)} to {len(outputs) - 1}, or, in the model, more "
            "backbone.out_indices"
        )
    chosen: Any = outputs[index]
    if isinstance(chosen, (tuple, list)) and chosen:
        chosen = chosen[0]
    if torch.is_tensor(chosen) and chosen.dim() == 3:
        count, channels, length = chosen.shape
        side = isqrt(length)
        if side * side == length:
            chosen = chosen.reshape(count, channels, side, side)
    if torch.is_tensor(chosen) and chosen.dim() == 4:
        feat: Tensor = chosen
        return feat
    pooled = torch.is_tensor(chosen) and chosen.dim() == 2
    raise FeatureError(
        f"{key}={index}: expected a map (N, C, H, W), got {told(chosen)}. "
        + (
            "The module gives the mean over all places: tap one before it, or, for ConvNeXt, set "
            "backbone.gap_before_final_norm=False in the model (and a neck of the type "
            "'GlobalAveragePooling')"
            if pooled
            else "Tap a backbone or one of its stages"
        )
    )


def told(output: Any) -> str:
    """Shapes in words, for errors.

    >>> told((torch.zeros(1, 2), None))
    '[(1, 2), NoneType]'
    """
    if torch.is_tensor(output):
        return str(tuple(output.shape))
    if isinstance(output, (tuple, list)):
        return f"[{', '.join(told(one) for one in output)}]"
    return type(output).__name__
