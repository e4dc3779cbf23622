"""What every gate is: weights for channels or places, learned in stage 1, frozen in stage 2.

A gate of your own joins with ``@GATES.register("name")``, see :mod:`freekd.registry`. Its
constructor takes ``channels``, one number for each pyramid level; what has a default is an option
of the config.
"""

from abc import abstractmethod
from typing import Callable, Iterable, List, Sequence, TypeVar, Union

import torch
from torch import Tensor, nn

from freekd.registry import Registry

Layer = TypeVar("Layer", bound=Union[nn.Linear, nn.Conv2d])


class Gate(nn.Module):
    """How much each channel, or each place, of each level of a pyramid counts (the paper's omega).

    It starts at 1. The teacher's task loss judges it in stage 1; in stage 2
    :class:`freekd.losses.freekd.FreeKDLoss` computes it without gradient, so that the distillation
    loss cannot be lowered through it.
    """

    same_channels = False  # whether all levels must have one number of channels

    @abstractmethod
    def forward(self, feats: Sequence[Tensor]) -> List[Tensor]:
        """A weight for each map (N, C, H, W), finest level first.

        Each broadcasts to its map: (N, C, 1, 1) for channels, (N, 1, H, W) for places, or
        (N, C, H, W). A weight with places meets a band as the mean around each coefficient's place,
        see :meth:`freekd.frequency.Transform.averaged`.
        """


GATES: "Registry[Gate]" = Registry("gate", usual="position")


def check_weight_shape(weight: Tensor, maps: Sequence[int]) -> None:
    """Raise ValueError unless a gate's weight broadcasts to ``maps`` (N, C, H, W)."""
    fits = weight.dim() == 4 and all(n in (1, m) for n, m in zip(weight.shape, maps))
    if not fits or (weight.shape[2:] != (1, 1) and weight.shape[2:] != tuple(maps[2:])):
        raise ValueError(
            f"a gate's weight has the shape {tuple(weight.shape)}; for maps {tuple(maps)} expected "
            "(N, C, 1, 1), (N, 1, H, W) or (N, C, H, W)"
        )


def check_maps(feats: Sequence[Tensor], channels: Sequence[int]) -> None:
    """Raise ValueError, with both numbers, unless ``feats`` are the levels a gate was made for."""
    if len(feats) != len(channels):
        raise ValueError(f"the gate has {len(channels)} levels, got {len(feats)} feature maps")
    for level, (feat, expected) in enumerate(zip(feats, channels)):
        if feat.shape[1] != expected:
            raise ValueError(
                f"the gate was made for {expected} channels, level {level} has {feat.shape[1]}"
            )


def weights_of_levels(
    feats: Sequence[Tensor],
    channels: Sequence[int],
    layers: Sequence[Iterable[nn.Module]],
    weigh: Callable[..., Tensor],
) -> List[Tensor]:
    """The weights of a gate whose levels know nothing of each other.

    Args:
        feats: (N, C, H, W), finest level first.
        channels: C of each level, as the gate was made.
        layers: lists of the gate's layers, each with one for every level.
        weigh: of a level's map, in the type of its layers, and these layers: its weight. It is
            called outside autocast.

    Raises:
        ValueError: the number of maps or their channels are others.
    """
    check_maps(feats, channels)
    weights = []
    for feat, *own in zip(feats, *layers):
        with torch.autocast(device_type=feat.device.type, enabled=False):
            # in the type of the layers' weights, whatever a map comes in
            weights.append(weigh(feat.to(next(own[-1].parameters()).dtype), *own))
    return weights


def hidden_channels(channels: int, reduction: int) -> int:
    """The width of a gate's hidden layer: C / reduction, at least 8."""
    return max(channels // reduction, 8)


def zero_start(layer: Layer) -> Layer:
    """The last layer of a gate: it gives 0 at first, so that the weight is 1."""
    nn.init.zeros_(layer.weight)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    return layer
