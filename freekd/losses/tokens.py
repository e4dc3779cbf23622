"""What a tapped module gives, read as a map, as tokens, or as one vector for an image.

Networks for classification tell the same in several ways:

| output | of |
|---|---|
| a map (N, C, H, W) | stages of convolutions |
| tokens (N, L, C), maybe with class tokens before them | layers of transformers and mixers |
| (tokens, (H, W)), with their grid beside them | stages of Swin transformers |
| [map, class token], [map, class token, distillation token] | an output of a transformer in mmcls |
| a tuple of these, one for each output | backbones |
| a tuple of (N, C, L), channels first, and maps | backbones of MlpMixer and EfficientFormer |
"""

import math
from typing import Any, Optional, Sequence, Tuple

import torch
from torch import Tensor

from freekd.checks import FeatureError

MOST_EXTRA = 2  # class and distillation token before the others
MOST = 64  # outputs of a backbone


def check_index(key: str, value: Any) -> None:
    """Raise ValueError, naming the key, unless ``value`` can be the index of an output."""
    if not isinstance(value, int) or isinstance(value, bool) or not -MOST <= value < MOST:
        raise ValueError(f"{key} must be an integer, such as -1 for the last output, got {value!r}")


def grid_side(count: int, extra: int = 0) -> int:
    """The side of the square grid of so many tokens; 0 where there is none.

    Args:
        count: of all tokens.
        extra: how many of them may stand before the grid.

    >>> grid_side(196), grid_side(197), grid_side(197, extra=1)
    (14, 0, 14)
    """
    side = math.isqrt(count)
    return side if count - side * side <= extra else 0


# --------------------------------------------------------------------------- maps
def as_map(output: Any, key: str, index: int = -1, grid: Optional[Sequence[int]] = None) -> Tensor:
    """What a module gives as one map (N, C, H, W).

    Args:
        output: see the module. A tensor of three axes is tokens (N, L, C); in a tuple of such
            and of maps, which only backbones give, it is (N, C, L).
        key: what it is called in errors.
        index: which one of a tuple of outputs.
        grid: (H, W) of tokens that come without; None: a square.

    Raises:
        FeatureError: it is none of these; says what it is and what to do.

    >>> tuple(as_map(torch.zeros(2, 1 + 9, 5), "tap").shape)  # a class token and a grid of 3 x 3
    (2, 5, 3, 3)
    >>> tuple(as_map((torch.zeros(2, 6, 5), (2, 3)), "tap").shape)
    (2, 5, 2, 3)
    >>> tuple(as_map((torch.zeros(2, 5, 9),), "tap").shape)  # a mixer's backbone
    (2, 5, 3, 3)
    """
    outputs = _outputs(output)
    if not -len(outputs) <= index < len(outputs):
        raise FeatureError(
            f"{key}: there is no output {index}: the tapped module gives {len(outputs)}, "
            f"{told(output)}. Give an index (student_index, teacher_index) from {-len(outputs)} to "
            f"{len(outputs) - 1}, or, in the model, more backbone.out_indices"
        )
    chosen = outputs[index]
    if outputs is output and _dims(chosen) == 3 and all(_dims(x) in (3, 4) for x in outputs):
        # of a backbone: channels first
        return tokens_as_map(chosen.transpose(1, 2), key, grid, extra=0)
    if isinstance(chosen, (tuple, list)) and chosen:
        first, *beside = chosen
        if len(beside) == 1 and _dims(first) == 3 and _is_grid(beside[0]):
            return tokens_as_map(first, key, beside[0], extra=0)
        chosen = first
    if _dims(chosen) == 4:
        feat: Tensor = chosen
        return feat
    if _dims(chosen) == 3:
        return tokens_as_map(chosen, key, grid)
    raise FeatureError(
        f"{key}: expected a map (N, C, H, W) or tokens (N, L, C), got {told(chosen)}. "
        + (
            "The module gives the mean over all places: tap one before it, such as a stage of the "
            "backbone, or, for ConvNeXt, set backbone.gap_before_final_norm=False in the model "
            "(and a neck of the type 'GlobalAveragePooling')"
            if _dims(chosen) == 2
            else "Tap a module that gives one, such as a backbone or one of its stages"
        )
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
    side = grid_side(count, extra)
    height, width = (side, side) if grid is None else (int(grid[0]), int(grid[1]))
    before = count - height * width
    if not height or not 0 <= before <= extra:
        of = "square grid" if grid is None else f"grid of {height} x {width}"
        raise FeatureError(
            f"{key}: {count} tokens are no {of}, nor with up to {extra} class tokens before it. "
            "Give the grid's size that the data's images have, or train on square images"
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


# --------------------------------------------------------------------------- tokens and vectors
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
    if _dims(tokens) != 3 or tokens.shape[1] <= leading:
        raise FeatureError(
            f"{where}: expected tokens (N, {leading} + patches, width) of a transformer's layer, "
            f"got {told(tokens)}; tap a layer such as 'backbone.layers.0'"
        )
    found: Tensor = tokens[:, leading:]
    return found


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
        f"{told(output)}; tap a stage of the backbone"
    )


# --------------------------------------------------------------------------- what came
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


def _outputs(output: Any) -> Sequence[Any]:
    """Those of a backbone; of a layer or a stage the one that it gives, whatever is beside it."""
    if not isinstance(output, (tuple, list)):
        return [output]
    if len(output) > 1:
        first, *beside = output
        tokens = _dims(first) == 3 and len(beside) == 1 and _is_grid(beside[0])
        classes = _dims(first) == 4 and all(x is None or _dims(x) == 2 for x in beside)
        return [output] if tokens or classes else output
    return output


def _dims(value: Any) -> int:
    return value.dim() if torch.is_tensor(value) else -1


def _is_grid(value: Any) -> bool:
    """Whether it is (H, W)."""
    listed = isinstance(value, (tuple, list)) and len(value) == 2
    return listed and all(isinstance(side, int) for side in value)
