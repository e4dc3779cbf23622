"""Taps: reading, and replacing, what a module of a detector gives, maps and sequences alike."""

from typing import Any, Callable, List, Optional, Sequence

import torch
from torch import Tensor, nn

from freekd.checks import FeatureError

Sizes = Sequence[Sequence[int]]


def hook_output(module: nn.Module, function: Callable[[Any, Optional[Sizes]], Any]) -> Any:
    """Call ``function(output, sizes)`` after each forward of ``module``; returns the handle.

    ``sizes`` is the call's keyword ``spatial_shapes``, by which the layers of Deformable DETR know
    how long each level is in their sequence, as a list of (height, width); None elsewhere. What the
    function returns, unless None, replaces the output.
    """

    def hook(_: nn.Module, __: Any, kwargs: Any, output: Any) -> Any:
        sizes = kwargs.get("spatial_shapes")
        if torch.is_tensor(sizes):
            sizes = sizes.tolist()
        return function(output, sizes)

    try:
        return module.register_forward_hook(hook, with_kwargs=True)
    except TypeError:  # torch < 2.0: hooks see no keywords, so sequences cannot be put back
        return module.register_forward_hook(lambda m, args, output: hook(m, args, {}, output))


def as_levels(output: Any, sizes: Optional[Sizes], key: str) -> List[Tensor]:
    """A module's output as a list of maps (N, C, H, W), one per pyramid level.

    Args:
        output: a tensor, a tuple or list of tensors, or a sequence of tokens with its ``sizes``.
        sizes: (height, width) of each level of a sequence, or None.
        key: the config key of the tapped module, for errors.

    Raises:
        FeatureError: none of these.
    """
    if torch.is_tensor(output) and output.dim() == 3:
        return sequence_to_maps(output, sizes, key)
    levels = [output] if torch.is_tensor(output) else output
    if isinstance(levels, (tuple, list)) and all(torch.is_tensor(level) for level in levels):
        return list(levels)
    raise FeatureError(
        f"{key}: expected a module that gives a tensor or a tuple of tensors, it gives "
        f"{_described(output)}; tap another module, such as 'neck' or a head's last layer"
    )


def sequence_to_maps(tokens: Tensor, sizes: Optional[Sizes], key: str = "module") -> List[Tensor]:
    """Tokens (L, N, C) or (N, L, C) as maps [(N, C, H, W)] with L = sum of H W.

    Raises:
        FeatureError: no sizes, or their sum is not the length of the sequence.

    >>> [tuple(m.shape) for m in sequence_to_maps(torch.zeros(20, 2, 8), [(4, 4), (2, 2)])]
    [(2, 8, 4, 4), (2, 8, 2, 2)]
    """
    if sizes is None:
        raise FeatureError(
            f"{key}: the module gives a sequence {tuple(tokens.shape)} and is not told its "
            "spatial_shapes, so it cannot be put back into maps; tap a layer that gets them, such "
            "as 'bbox_head.transformer.encoder' of Deformable DETR"
        )
    lengths = [int(h) * int(w) for h, w in sizes]
    if tokens.shape[0] == sum(lengths):
        tokens = tokens.permute(1, 2, 0)
    elif tokens.shape[1] == sum(lengths):
        tokens = tokens.permute(0, 2, 1)
    else:
        raise FeatureError(
            f"{key}: a sequence {tuple(tokens.shape)} is expected to have {sum(lengths)} tokens, "
            f"as spatial_shapes {[tuple(size) for size in sizes]} say"
        )
    parts = tokens.split(lengths, dim=2)
    return [part.reshape(*part.shape[:2], int(h), int(w)) for part, (h, w) in zip(parts, sizes)]


def maps_to_output(maps: Sequence[Tensor], output: Any) -> Any:
    """Maps in the form of ``output``, tensor, tuple or sequence: undoes :func:`as_levels`."""
    if torch.is_tensor(output):
        if output.dim() != 3:
            return maps[0]
        tokens = torch.cat([level.flatten(2) for level in maps], dim=2)
        first = output.shape[0] == tokens.shape[2]
        return tokens.permute(2, 0, 1) if first else tokens.permute(0, 2, 1)
    return type(output)(maps)


def _described(output: Any) -> str:
    if isinstance(output, (tuple, list)):
        return f"a {type(output).__name__} of {', '.join(type(item).__name__ for item in output)}"
    return type(output).__name__
