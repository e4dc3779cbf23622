"""Tokens of transformers: patches without what stands before them, and one vector for an image."""

from typing import Any

import torch
from torch import Tensor

from freekd.checks import FeatureError


def first_tensor(output: Any) -> Any:
    """What a module gave; the first of several things, as for a stage that tells its size too."""
    while isinstance(output, (tuple, list)) and output:
        output = output[0]
    return output


def patch_tokens(tokens: Any, leading: int, where: str) -> Tensor:
    """The tokens of the patches alone.

    Args:
        tokens: (N, leading + P, D), what a transformer's layer gave.
        leading: how many stand before them: class token, distillation token.
        where: the tap, for errors.

    Returns:
        (N, P, D).

    Raises:
        FeatureError: they are no such tokens.

    >>> patch_tokens(torch.zeros(2, 17, 8), 1, "tap").shape
    torch.Size([2, 16, 8])
    """
    tokens = first_tensor(tokens)
    if not torch.is_tensor(tokens) or tokens.dim() != 3 or tokens.shape[1] <= leading:
        raise FeatureError(
            f"{where}: expected tokens (N, {leading} + patches, width) of a transformer's layer, "
            f"got {_told(tokens)}; tap a layer such as 'backbone.layers.0'"
        )
    return tokens[:, leading:]


def image_vector(output: Any, leading: int, where: str) -> Tensor:
    """One vector for each image: a map's mean over its places, or a transformer's first token.

    Args:
        output: a map (N, C, H, W), tokens (N, L, C), or vectors (N, C).
        leading: how many tokens stand before those of the patches; 0: the mean over all.
        where: the tap, for errors.

    Returns:
        (N, C).

    Raises:
        FeatureError: it is none of these.

    >>> image_vector(torch.ones(2, 8, 4, 4), 0, "tap").shape
    torch.Size([2, 8])
    """
    output = first_tensor(output)
    if torch.is_tensor(output) and output.dim() == 4:
        return output.mean(dim=(2, 3))
    if torch.is_tensor(output) and output.dim() == 3:
        return output[:, 0] if leading else output.mean(dim=1)
    if torch.is_tensor(output) and output.dim() == 2:
        return output
    raise FeatureError(
        f"{where}: expected maps (N, C, H, W), tokens (N, L, C) or vectors (N, C), got "
        f"{_told(output)}; tap a stage of the backbone"
    )


def _told(output: Any) -> str:
    return str(tuple(output.shape)) if torch.is_tensor(output) else f"a {type(output).__name__}"
