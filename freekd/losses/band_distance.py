"""The weighted distance of two maps between their bands, standardised if asked (Eq. 13).

What :mod:`freekd.frequency.distance` and :mod:`freekd.frequency.haar_distance` do for bands, for
maps: it chooses the fast way where there is one, and gives each group of bands its weight.
"""

from typing import Dict, List, Optional, Sequence, Tuple

import torch
from torch import Tensor

from freekd.checks import check_choice
from freekd.frequency import HAAR, build_transform
from freekd.frequency.groups import BandGroup, selected_groups
from freekd.frequency.haar_distance import can_fuse, haar_distance
from freekd.frequency.shift import Offset, moved
from freekd.frequency.transform import TransformLike
from freekd.gates.gate import check_weight_shape
from freekd.prompts.masks import DISTANCES, gate_weights
from freekd.widen import wide_dtype

from .align import NORMALIZATIONS, standardize
from .parts import channels_at_a_time, parts, sum_over_parts

AVERAGES = ("band", "map")


def weighted_distance(
    student: Tensor,
    teacher: Tensor,
    weights: Optional[Sequence[Tensor]] = None,
    gate_weight: Optional[Tensor] = None,
    transform: TransformLike = HAAR,
    granularity: str = "band",
    bands: str = "all",
    distance: str = "l1",
    normalize: Optional[str] = None,
    average: str = "band",
    offset: Optional[Offset] = None,
) -> Tensor:
    """sum over groups of mean( omega w |a - b|^p ), w (N or 1, h, w) of a group, p = 1 or 2.

    ``average='map'`` takes, instead of each group's mean, its sum over N C H W, the number of the
    map's values: each coefficient counts alike, and not each band.

    ``normalize='channel'`` compares the maps standardised, see
    :class:`~freekd.losses.freekd.FreeKDLoss`.

    ``offset`` moves the maps and the gate's weight before they are transformed, see
    :mod:`freekd.frequency.shift`; ``weights`` are of the bands of the moved maps.

    With Haar the value and its gradient come from one pass over the maps, see
    :mod:`freekd.frequency.haar_distance`; other transforms, odd sizes with other modes than
    ``zero``, a gate's weight with places for each channel, weights that want a gradient, and second
    derivatives take the general way by themselves. On a CPU that, and standardising, goes a few
    channels at a time, see :mod:`.parts`, unless weights want a gradient.

    Raises:
        ValueError: shapes differ, an unknown option, or weights of another size than the bands.
    """
    if student.shape != teacher.shape or student.dim() != 4:
        raise ValueError(
            f"student {tuple(student.shape)} and teacher {tuple(teacher.shape)} must be aligned, "
            "both (N, C, H, W)"
        )
    check_choice("distance", distance, DISTANCES)
    check_choice("normalize", normalize, NORMALIZATIONS)
    check_choice("average", average, AVERAGES)
    transform = build_transform(transform)
    teacher = teacher.detach()
    dtype = wide_dtype(student, teacher)
    squared = distance == "l2"
    with torch.autocast(device_type=student.device.type, enabled=False):
        sizes = transform.sizes(student.shape[-2:])
        groups = selected_groups(transform.groups(granularity), bands)
        band_weights = _band_weights(weights, sizes, student, dtype, groups, average)
        if gate_weight is not None:
            check_weight_shape(gate_weight, student.shape)
            gate_weight = moved(gate_weight.to(dtype), offset)
            if gate_weight.shape[1] == 1 and gate_weight.shape[2:] != (1, 1):  # as the masks'
                gates = gate_weights(gate_weight, transform)
                band_weights = [w * gate[:, 0] for w, gate in zip(band_weights, gates)]
                gate_weight = None
            else:
                gate_weight = gate_weight.expand(-1, student.shape[1], -1, -1)
        levels = transform.haar_levels(student.shape)
        placed = gate_weight is not None and gate_weight.shape[2:] != (1, 1)
        constants = [*band_weights, *([] if gate_weight is None else [gate_weight])]
        fused = levels > 0 and not placed and can_fuse(student, levels, teacher, *constants)

        def of_channels(part: slice, piece: Tensor) -> Tensor:
            sides = [moved(piece, offset), moved(teacher[:, part], offset)]
            if normalize == "channel":
                sides = [standardize(side) for side in sides]
            gate = None if gate_weight is None else gate_weight[:, part]
            if fused:
                omega = None if gate is None else gate[..., 0, 0].expand(len(piece), -1)
                return haar_distance(sides[0], sides[1], band_weights, omega, squared)
            gates = None if gate is None else gate_weights(gate, transform)
            left, right = (side.to(dtype) for side in sides)
            return transform.distance(left, right, band_weights, gates, squared)

        learned = torch.is_grad_enabled() and any(weight.requires_grad for weight in constants)
        if learned or (fused and normalize is None and offset is None):  # it has parts of its own
            return of_channels(slice(None), student)
        step = channels_at_a_time(student, 3 if fused else 6, least=2**15)
        return sum_over_parts(of_channels, student, 1, parts(student.shape[1], step))


def _band_weights(
    weights: Optional[Sequence[Tensor]],
    sizes: Sequence[Tuple[int, int]],
    student: Tensor,
    dtype: torch.dtype,
    groups: Sequence[Tuple[int, BandGroup]],
    average: str,
) -> List[Tensor]:
    """Per band (N or 1, h, w): the group's weight over the number of its coefficients, or 0.

    With ``average='map'`` over the number of the map's values.
    """
    found: Dict[int, Tensor] = {}
    scaled: List[Tuple[Tensor, int, Tuple[int, ...]]] = []  # a group's weight, over what, its bands
    count, channels = student.shape[:2]
    for position, (name, members, _) in groups:
        height, width = sizes[members[0]]
        coefficients = max(1, count * channels * height * width * len(members))
        if average == "map":
            coefficients = max(1, student.numel())
        if weights is None:
            weight = student.new_full((1, height, width), 1 / coefficients, dtype=dtype)
            found.update((member, weight) for member in members)
            continue
        weight = weights[position].to(dtype)
        if weight.shape[0] not in (1, count) or weight.shape[1:] != (height, width):
            raise ValueError(
                f"the mask of {name} has (N, h, w) = {tuple(weight.shape)}, the band of a map "
                f"{tuple(student.shape)} {(count, height, width)}"
            )
        scaled.append((weight, coefficients, members))
    if scaled:  # at once: on a GPU a division for each costs as much as all
        means = torch._foreach_div([x for x, _, _ in scaled], [float(n) for _, n, _ in scaled])
        for mean, (_, _, members) in zip(means, scaled):
            found.update((member, mean) for member in members)
    return [
        found[band] if band in found else student.new_zeros((1, *size), dtype=dtype)
        for band, size in enumerate(sizes)
    ]
