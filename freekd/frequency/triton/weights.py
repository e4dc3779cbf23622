"""The weight that the prompts' masks put on each coefficient, see :mod:`.haar_triton`."""

from typing import List

import torch
from torch import Tensor

from freekd.frequency.triton.launch import (
    BLOCK,
    Cut,
    check_shapes,
    core_count,
    kernels,
    launch,
    wide,
)

_MAX_PROMPTS = 3  # whose logits a lane holds: more and registers are spilled


def mask_weights(
    teacher: Tensor, prompt: Tensor, levels: int, granularity: str = "band", squared: bool = False
) -> List[Tensor]:
    """The weight that T prompts' masks put on each coefficient: (1/T) sum_i sigma(P_k,i . xi_k(t)).

    Args:
        teacher: t (N, C, H, W), any floating type; read once (for T > 3 the same part several times
            by programs that run side by side).
        prompt: P. With ``granularity='band'`` (3J + 1, T, C); with ``'level'`` (J + 1, T, C), the
            first for LL, the others for the *sum* of a level's three bands, which share the mask.
        levels: J, 1 to ``MAX_LEVELS``.
        squared: the mean of sigma^2 instead, for the squared distance.

    Returns:
        3J + 1 weights (N, h, w) in the order of :func:`analysis`, in float32, or float64 where the
        teacher is. Bands that share a mask share the tensor. All are views of one buffer.

    Raises:
        ValueError: for another granularity, or a prompt of another shape.
    """
    if granularity not in ("band", "level"):
        raise ValueError(f"granularity={granularity!r} is not known; expected 'band' or 'level'")
    images, channels = teacher.shape[:2]
    cut, dtype = Cut(teacher.shape[-2:], levels), wide(teacher)
    shared = granularity == "level"
    sizes = cut.band_sizes()[:: 3 if shared else 1]
    groups, prompts = len(sizes), prompt.shape[1]
    check_shapes("a prompt", [prompt.shape], [(groups, prompts, channels)])
    counts = [images * h * w for h, w in sizes]
    total = sum(-(-count // 4) * 4 for count in counts)  # each group starts at a multiple of 4
    span = max(8, cut.lanes_in_block)  # lanes of a warp at neighbouring places
    chunks = -(-prompts // _MAX_PROMPTS)
    together = -(-prompts // chunks)
    columns = -(-images * cut.lanes // (BLOCK * span // 32)) * chunks
    spans = -(-channels * span // 32)  # of channels, of which a warp takes 32 / span at a time
    wanted = core_count(teacher) * (4 if together < 3 else 3) // columns  # all at the same time
    share = -(-spans // max(1, min(wanted, -(-spans // 4))))
    parts = -(-spans // share)
    logits = torch.empty(parts, prompts, total, dtype=dtype, device=teacher.device)
    launch(
        teacher,
        kernels().logits_kernel,
        (columns, parts),
        teacher.contiguous(),
        prompt.contiguous(),
        logits,
        channels,
        share,
        prompts,
        chunks,
        total // 4,
        images,
        *cut.sizes(),
        COUNT=together,
        SHARED=shared,
        SPAN=span,
        BLOCK=BLOCK,
        **cut.constants(dtype),
    )
    out = logits.new_empty(total)
    launch(
        teacher,
        kernels().masks_kernel,
        (-(-total // BLOCK),),
        logits,
        out,
        total,
        prompts,
        parts,
        SQUARED=squared,
        BLOCK=BLOCK,
    )
    weights, start = [], 0
    for count, size in zip(counts, sizes):
        weights.append(out[start : start + count].view(images, *size))
        start += -(-count // 4) * 4
    if shared:
        weights = weights[:1] + [weight for weight in weights[1:] for _ in range(3)]
    return weights
