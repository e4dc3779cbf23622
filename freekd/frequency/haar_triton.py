"""The Haar transform, its weighted distance and the prompts' masks as GPU kernels (Triton).

Optional: without triton, or on another device, :func:`available` says no and its callers take the
torch path. Everything is computed in float32, or float64 where a map is float64, and rounded once;
each map is read, and written, once. Sums are deterministic: one partial sum for each program, then
``torch.sum``; no atomics.

What is checked how. The numbers: on CPU by Triton's interpreter (TRITON_INTERPRET=1), against the
torch path. Compiling for sm_80 and sm_90, without spilled registers: on CPU too. The tests in
tests/frequency/test_haar_triton.py that need a GPU skip where there is none. **No GPU has run these
kernels yet**: speed, the launch parameters below and several devices are untried.

``FREEKD_TRITON=0`` in the environment keeps the kernels out.
"""

import os
from functools import lru_cache
from typing import Any, List, Optional, Sequence, Tuple

import torch
from torch import Tensor

MAX_LEVELS = 4
_BLOCK = 128  # lanes of a program, one for each of its threads (4 warps, Triton's default)
_FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
_PROGRAMS_PER_CORE = 16  # of the distance: enough of them before channels share a lane
_MAX_SHARE = 8  # channels in a lane, at most


@lru_cache(maxsize=None)
def _kernels() -> Any:
    """The module of kernels, or None where triton is missing or too old."""
    try:
        from . import haar_triton_kernels as kernels
    except (ImportError, AttributeError):  # no triton; one before 3.4 lacks constexpr_function
        return None
    return kernels


@lru_cache(maxsize=None)
def _interpreted() -> bool:
    """Whether triton was imported with TRITON_INTERPRET=1: then the kernels run on CPU."""
    kernels = _kernels()
    return kernels is not None and type(kernels.distance_kernel).__name__ == "InterpretedFunction"


@lru_cache(maxsize=None)
def _core_count(index: int) -> int:
    """Multiprocessors of a device fit for Triton, 0 for one that is not."""
    properties = torch.cuda.get_device_properties(index)
    fit = torch.version.hip is None and properties.major >= 8
    return int(properties.multi_processor_count) if fit else 0


def available(x: Tensor, levels: int = 1) -> bool:
    """Whether the kernels can take maps like ``x`` (..., H, W), through ``levels`` levels."""
    if levels > MAX_LEVELS or x.dtype not in _FLOATS or x.dim() < 2 or x.numel() == 0:
        return False
    if os.environ.get("FREEKD_TRITON") == "0":
        return False
    if x.device.type == "cuda":
        return _kernels() is not None and (_interpreted() or _core_count(x.get_device()) > 0)
    return x.device.type == "cpu" and "TRITON_INTERPRET" in os.environ and _interpreted()


def _wide(*maps: Tensor) -> torch.dtype:
    return torch.float64 if any(x.dtype == torch.float64 for x in maps) else torch.float32


class _Cut:
    """How maps (H, W) are cut into blocks and lanes, see :mod:`.haar_triton_blocks`."""

    def __init__(self, size: Sequence[int], levels: int) -> None:
        if not 1 <= levels <= MAX_LEVELS:
            raise ValueError(f"the kernels do 1 to {MAX_LEVELS} levels, got {levels}")
        self.height, self.width = size
        self.levels = levels
        self.side = 2 if levels == 1 else 4
        self.unit = 4 if self.width % 4 == 0 else 2 if self.width % 2 == 0 else 1
        self.blocks = [-(-length // 2**levels) for length in size]
        self.lanes = self.blocks[0] * self.blocks[1] * (2**levels // self.side) ** 2

    def sizes(self) -> Tuple[int, int, int, int]:
        """The kernels' height, width_units, blocks_y, blocks_x."""
        return (self.height, self.width // self.unit, *self.blocks)

    def constants(self, dtype: torch.dtype) -> "dict[str, Any]":
        """The constants that all kernels want."""
        language = _kernels().tl
        return {
            "LEVELS": self.levels,
            "SIDE": self.side,
            "UNIT": self.unit,
            "ACC": language.float64 if dtype == torch.float64 else language.float32,
        }

    def band_sizes(self) -> List[Tuple[int, int]]:
        """(h, w) of the 3J + 1 bands."""
        out = []
        for level in [self.levels] + [1 + i // 3 for i in range(3 * self.levels)]:
            out.append((-(-self.height // 2**level), -(-self.width // 2**level)))
        return out


def _launch(x: Tensor, kernel: Any, grid: Tuple[int, ...], *args: Any, **constants: Any) -> None:
    """Run on x's device, whichever is current."""
    if x.is_cuda and x.get_device() != torch.cuda.current_device():
        with torch.cuda.device(x.device):
            kernel[grid](*args, **constants)
    else:
        kernel[grid](*args, **constants)


def analysis(x: Tensor, levels: int) -> List[Tensor]:
    """J Haar levels with zero extension, the map read once and each band written once.

    Args:
        x: (..., H, W), any floating type.
        levels: J, 1 to ``MAX_LEVELS``.

    Returns:
        The 3J + 1 bands in the order of :meth:`freekd.frequency.WaveletBands.flat`; level j is
        (..., ceil(H / 2^j), ceil(W / 2^j)), float32, or float64 where x is.
    """
    cut, dtype = _Cut(x.shape[-2:], levels), _wide(x)
    lead = x.shape[:-2]
    bands = [torch.empty(*lead, *size, dtype=dtype, device=x.device) for size in cut.band_sizes()]
    planes = x.numel() // (cut.height * cut.width)
    _launch(
        x,
        _kernels().analysis_kernel,
        (-(-planes * cut.lanes // _BLOCK),),
        x.contiguous(),
        tuple(bands),
        planes,
        *cut.sizes(),
        BLOCK=_BLOCK,
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
    cut, dtype = _Cut(size, len(bands) // 3), _wide(*bands)
    lead = bands[0].shape[:-2]
    _check("bands", [band.shape for band in bands], [(*lead, *s) for s in cut.band_sizes()])
    out = torch.empty(*lead, *size, dtype=dtype, device=bands[0].device)
    planes = out.numel() // (cut.height * cut.width)
    _launch(
        out,
        _kernels().synthesis_kernel,
        (-(-planes * cut.lanes // _BLOCK),),
        out,
        tuple(band.contiguous() for band in bands),
        planes,
        *cut.sizes(),
        BLOCK=_BLOCK,
        **cut.constants(dtype),
    )
    return out


def _check(what: str, shapes: Sequence[Any], expected: Sequence[Any]) -> None:
    """The kernels trust their sizes; a wrong one would read what is not theirs."""
    came = [tuple(shape) for shape in shapes]
    if came != list(expected):
        raise ValueError(f"expected {what} of the shapes {list(expected)}, got {came}")


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
    cut, dtype = _Cut((height, width), levels), _wide(student, teacher)
    _check("a teacher", [teacher.shape], [student.shape])
    rows = [images if len(weight) == images else 1 for weight in weights]
    expected = [(n, *size) for n, size in zip(rows, cut.band_sizes())]
    _check("weights", [weight.shape for weight in weights], expected)
    if channel_weight is not None:
        _check("a channel weight", [channel_weight.shape], [(images, channels)])
    cores = _core_count(student.get_device()) if student.is_cuda and not _interpreted() else 132
    share = images * channels * cut.lanes // (_BLOCK * _PROGRAMS_PER_CORE * max(cores, 1))
    share = max(1, min(share, _MAX_SHARE, channels))
    groups = -(-channels // share)
    programs = -(-images * groups * cut.lanes // _BLOCK)
    student = student.contiguous()
    if grad_out is None:
        out = torch.empty(programs, dtype=dtype, device=student.device)
    else:
        out = torch.empty_like(student)
    _launch(
        student,
        _kernels().distance_kernel,
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
        BLOCK=_BLOCK,
        **cut.constants(dtype),
    )
    return out
