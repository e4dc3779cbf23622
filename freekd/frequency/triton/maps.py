"""The Haar transform, its weighted distance and the prompts' masks as GPU kernels (Triton).

Optional: without triton, or on another device, :func:`available` says no and its callers take the
torch path. Everything is computed in float32, or float64 where a map is float64, and rounded once;
each map is read, and written, once. Sums are deterministic: one partial sum for each program, then
``torch.sum``; no atomics.

What is checked how. The numbers: on CPU by Triton's interpreter (TRITON_INTERPRET=1), against the
torch path. Compiling for sm_80 and sm_90, without spilled registers: on CPU too, by ptxas. The
tests in tests/frequency/test_haar_triton.py that need a GPU skip where there is none. **No GPU has
run these kernels yet**: speed, launch parameters and several devices are untried. Triton 3.5 and
3.6 work so far as can be told without a GPU; an older one counts as missing.

``FREEKD_TRITON=0`` in the environment keeps the kernels out.
"""

from typing import List, Optional, Sequence

import torch
from torch import Tensor

from freekd.frequency.triton.launch import (
    BLOCK,
    MAX_LEVELS,
    Cut,
    available,
    check_shapes,
    core_count,
    kernels,
    launch,
    wide,
)
from freekd.frequency.triton.weights import mask_weights

__all__ = [
    "MAX_LEVELS",
    "analysis",
    "available",
    "distance_gradient",
    "distance_value",
    "mask_weights",
    "synthesis",
]

_PROGRAMS_PER_CORE = 16  # of the distance: enough of them before channels share a lane
_MAX_SHARE = 8  # channels in a lane, at most


def analysis(x: Tensor, levels: int) -> List[Tensor]:
    """J Haar levels with zero extension, the map read once and each band written once.

    Args:
        x: (..., H, W), any floating type.
        levels: J, 1 to ``MAX_LEVELS``.

    Returns:
        The 3J + 1 bands in the order of :meth:`freekd.frequency.WaveletBands.flat`; level j is
        (..., ceil(H / 2^j), ceil(W / 2^j)), float32, or float64 where x is.
    """
    cut, dtype = Cut(x.shape[-2:], levels), wide(x)
    lead = x.shape[:-2]
    bands = [torch.empty(*lead, *size, dtype=dtype, device=x.device) for size in cut.band_sizes()]
    planes = x.numel() // (cut.height * cut.width)
    launch(
        x,
        kernels().analysis_kernel,
        (-(-planes * cut.lanes // BLOCK),),
        x.contiguous(),
        tuple(bands),
        planes,
        *cut.sizes(),
        BLOCK=BLOCK,
        **cut.constants(dtype),
    )
    return bands


def synthesis(bands: Sequence[Tensor], size: Sequence[int]) -> Tensor:
    """The inverse of :func:`analysis`: a map (..., H, W).

    Args:
        bands: 3J + 1 of them.
        size: (H, W) of the map.

    Raises:
        ValueError: for bands that a map of this size does not have.
    """
    cut, dtype = Cut(size, len(bands) // 3), wide(*bands)
    lead = bands[0].shape[:-2]
    check_shapes("bands", [band.shape for band in bands], [(*lead, *s) for s in cut.band_sizes()])
    out = torch.empty(*lead, *size, dtype=dtype, device=bands[0].device)
    planes = out.numel() // (cut.height * cut.width)
    launch(
        out,
        kernels().synthesis_kernel,
        (-(-planes * cut.lanes // BLOCK),),
        out,
        tuple(band.contiguous() for band in bands),
        planes,
        *cut.sizes(),
        BLOCK=BLOCK,
        **cut.constants(dtype),
    )
    return out


def distance_value(
    student: Tensor,
    teacher: Tensor,
    weights: Sequence[Tensor],
    channel_weight: Optional[Tensor],
    levels: int,
    squared: bool,
) -> Tensor:
    """sum_k sum_{n,c,y,x} w_k[n,y,x] omega[n,c] |xi_k(s - t)[n,c,y,x]|^p.

    Args:
        student, teacher: s and t (N, C, H, W), any floating type each.
        weights: w, 3J + 1 tensors (N or 1, h, w) in the order of :func:`analysis`.
        channel_weight: omega (N, C), or None for 1.
        levels: J, 1 to ``MAX_LEVELS``.
        squared: p = 2 instead of 1.

    Returns:
        A scalar in float32, or float64 where a map is.

    Raises:
        ValueError: for shapes that do not belong together.
    """
    return _distance(student, teacher, weights, channel_weight, levels, squared, None).sum()


def distance_gradient(
    student: Tensor,
    teacher: Tensor,
    weights: Sequence[Tensor],
    channel_weight: Optional[Tensor],
    levels: int,
    squared: bool,
    grad_out: Tensor,
) -> Tensor:
    """The gradient of ``grad_out`` times :func:`distance_value` with respect to ``student``.

    xi^-1( grad_out omega w_k sign(xi_k(s - t)) ), or with 2 xi_k(s - t) for the sign: the adjoint
    of the transform is its inverse. Nothing of the forward pass is needed, and ``grad_out``, a
    scalar on the device, is not read by the host.

    Returns:
        (N, C, H, W), of the student's type.
    """
    return _distance(student, teacher, weights, channel_weight, levels, squared, grad_out)


def _distance(
    student: Tensor,
    teacher: Tensor,
    weights: Sequence[Tensor],
    channel_weight: Optional[Tensor],
    levels: int,
    squared: bool,
    grad_out: Optional[Tensor],
) -> Tensor:
    """The programs' sums, or with ``grad_out`` the gradient."""
    images, channels, height, width = student.shape
    cut, dtype = Cut((height, width), levels), wide(student, teacher)
    check_shapes("a teacher", [teacher.shape], [student.shape])
    rows = [images if len(weight) == images else 1 for weight in weights]
    expected = [(n, *size) for n, size in zip(rows, cut.band_sizes())]
    check_shapes("weights", [weight.shape for weight in weights], expected)
    if channel_weight is not None:
        check_shapes("a channel weight", [channel_weight.shape], [(images, channels)])
    share = images * channels * cut.lanes // (BLOCK * _PROGRAMS_PER_CORE * core_count(student))
    share = max(1, min(int(share), _MAX_SHARE, channels))
    groups = -(-channels // share)
    programs = -(-images * groups * cut.lanes // BLOCK)
    student = student.contiguous()
    if grad_out is None:
        out = torch.empty(programs, dtype=dtype, device=student.device)
    else:
        out = torch.empty_like(student)
    launch(
        student,
        kernels().distance_kernel,
        (programs,),
        student,
        teacher.contiguous(),
        tuple(weight.contiguous() for weight in weights),
        student if channel_weight is None else channel_weight.contiguous(),  # not read
        student if grad_out is None else grad_out,  # not read
        out,
        images,
        channels,
        groups,
        share,
        *cut.sizes(),
        BATCHED=sum(1 << k for k, n in enumerate(rows) if n > 1),
        OMEGA=channel_weight is not None,
        SQUARED=squared,
        GRADIENT=grad_out is not None,
        BLOCK=BLOCK,
        **cut.constants(dtype),
    )
    return out
