"""Stage 1's masked reconstruction (Eq. 4-7): what takes the place of a teacher's map."""

from typing import Callable, List, Optional, Sequence, Tuple

import torch
from torch import Tensor

from freekd.frequency import HAAR, Bands, Transform, build_transform
from freekd.frequency.transform import TransformLike
from freekd.gates.gate import check_weight_shape

from .forms import SIGNED, SignedForm
from .masks import gate_weights, prompt_masks

Fill = Callable[[int, Tensor], Tensor]  # (band, its coefficients) -> what stands for them


def masked_reconstruction(
    feat: Tensor,
    prompt: Tensor,
    transform: TransformLike = HAAR,
    granularity: str = "band",
    gate_weight: Optional[Tensor] = None,
    crop: bool = True,
    form: SignedForm = SIGNED,
    fill: Optional[Fill] = None,
) -> Tuple[Tensor, List[Tensor]]:
    """The map that stage 1 puts in the teacher: xi~( omega sum_i sigma(M_i) R ), Eq. 4-7.

    Args:
        feat: (N, C, H, W).
        prompt: (G, T, C).
        transform: xi.
        granularity, form: as for :func:`freekd.prompts.masks.prompt_masks`.
        gate_weight, crop, fill: as for :func:`reconstructed`.

    Returns:
        The masked map, of ``feat``'s dtype, and the masks of each group (N, T, h, w).

    Raises:
        ValueError: as :func:`prompt_masks` and the transform, and for a ``gate_weight`` of another
            shape.
    """
    transform = build_transform(transform)
    if gate_weight is not None:
        check_weight_shape(gate_weight, feat.shape)
    bands = transform.analyse(feat)
    masks = prompt_masks(prompt, bands, transform, granularity, form)
    out = reconstructed(feat, bands, masks, transform, granularity, gate_weight, crop, fill)
    return out, masks


def reconstructed(
    feat: Tensor,
    bands: Bands,
    masks: Sequence[Tensor],
    transform: Transform,
    granularity: str = "band",
    gate_weight: Optional[Tensor] = None,
    crop: bool = True,
    fill: Optional[Fill] = None,
) -> Tensor:
    """xi~( omega (m R + (1 - m)_+ f) ) with m = sum_i m_i, the sum of a band's masks.

    Args:
        feat: the map (N, C, H, W) that the bands are of.
        bands: R.
        masks: m_i (N, T, h, w) of each group.
        transform, granularity: of the bands and the groups.
        gate_weight: omega, a gate's weight, which broadcasts to ``feat``; with places it is
            averaged for each band, see :meth:`freekd.frequency.Transform.averaged`. None for 1.
        crop: cut the reconstruction to (H, W); the inverse of an odd size is larger.
        fill: f, given the number of a band and its coefficients, see :mod:`.fill`; None for 0.

    Returns:
        The masked map, of ``feat``'s dtype.
    """
    flat = bands.flat()
    with torch.autocast(device_type=feat.device.type, enabled=False):
        for mask, group in zip(masks, transform.groups(granularity)):
            factor = mask.sum(dim=1, keepdim=True)
            for member in group.members:
                masked = flat[member] * factor
                if fill is not None:
                    masked = masked + (1 - factor).clamp_min(0) * fill(member, flat[member])
                flat[member] = masked
        if gate_weight is not None:
            gates = gate_weights(gate_weight, transform)
            flat = [band * gate for band, gate in zip(flat, gates)]
    size = feat.shape[-2:] if crop else None
    return transform.synthesise(transform.bands(flat), size).to(feat.dtype)
