"""The Haar transform, its weighted distance and the prompts' masks as GPU kernels (Triton).

Optional: without triton, or on another device, :func:`available` says no and its callers take the
torch path. Everything is computed in float32, or float64 where a map is float64, and rounded once;
each map is read, and written, once. Sums are deterministic: one partial sum for each program, then
``torch.sum``; no atomics.

What is checked how. The numbers: on CPU by Triton's interpreter (TRITON_INTERPRET=1), against the
torch path. Compiling for sm_80 and sm_90, without spilled registers: on CPU too, by ptxas. The
tests in tests/frequency/test_haar_triton.py that need a GPU skip where there is none; on an H100
and an H200 they passed. Several devices are untried. Triton 3.6 has run them, 3.5 compiles them; an
older one counts as missing.

``FREEKD_TRITON=0`` in the environment keeps the kernels out.
"""

import os
from functools import lru_cache
from typing import Any, Dict, List, Optional, Sequence, Tuple

import torch
from torch import Tensor

from freekd.widen import wide_dtype

MAX_LEVELS = 4
BLOCK = 128  # lanes of a program, one for each of its threads (4 warps, Triton's default)
_FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
_PROGRAMS_PER_CORE = 16  # of the distance: enough of them before channels share a lane
_MAX_SHARE = 8  # channels in a lane, at most
_MAX_PROMPTS = 3  # whose logits a lane holds: more and registers are spilled


# --------------------------------------------------------------------------- whether, and how
@lru_cache(maxsize=None)
def kernels() -> Any:
    """The module of all kernels, or None where triton is missing or too old."""
    try:
        from freekd.frequency.triton import kernels as found
    except (ImportError, AttributeError):  # no triton; before 3.5 it lacks constexpr_function
        return None
    return found


@lru_cache(maxsize=None)
def _interpreted() -> bool:
    """Whether triton was imported with TRITON_INTERPRET=1: then the kernels run on CPU."""
    kernel = getattr(kernels(), "distance_kernel", None)
    return type(kernel).__name__ == "InterpretedFunction"


@lru_cache(maxsize=None)
def _core_count(index: int) -> int:
    """Multiprocessors of a device that is fit for the kernels, 0 for one that is not."""
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
        return kernels() is not None and (_interpreted() or _core_count(x.get_device()) > 0)
    return x.device.type == "cpu" and "TRITON_INTERPRET" in os.environ and _interpreted()


def core_count(x: Tensor) -> int:
    """Multiprocessors to share work among, those of an H100 where none is there."""
    return _core_count(x.get_device()) if x.is_cuda and not _interpreted() else 132


class Cut:
    """How maps (H, W) are cut into blocks and lanes, see :mod:`.lanes`."""

    def __init__(self, size: Sequence[int], levels: int) -> None:
        if not 1 <= levels <= MAX_LEVELS:
            raise ValueError(f"the kernels do 1 to {MAX_LEVELS} levels, got {levels}")
        self.height, self.width = size
        self.levels = levels
        self.side = 2 if levels == 1 else 4
        self.unit = 4 if self.width % 4 == 0 else 2 if self.width % 2 == 0 else 1
        self.blocks = [-(-length // 2**levels) for length in size]
        self.lanes_in_block = (2**levels // self.side) ** 2
        self.lanes = self.blocks[0] * self.blocks[1] * self.lanes_in_block

    def sizes(self) -> Tuple[int, int, int, int]:
        """The kernels' height, width_units, blocks_y, blocks_x."""
        return (self.height, self.width // self.unit, *self.blocks)

    def constants(self, dtype: torch.dtype) -> Dict[str, Any]:
        """The constants that all kernels want."""
        language = kernels().tl
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


def launch(x: Tensor, kernel: Any, grid: Tuple[int, ...], *args: Any, **constants: Any) -> None:
    """Run a kernel on x's device, whichever is current."""
    if x.is_cuda and x.get_device() != torch.cuda.current_device():
        with torch.cuda.device(x.device):
            kernel[grid](*args, **constants)
    else:
        kernel[grid](*args, **constants)


def check_shapes(what: str, shapes: Sequence[Any], expected: Sequence[Any]) -> None:
    """The kernels trust their sizes; a wrong one would read what is not theirs."""
    came = [tuple(shape) for shape in shapes]
    if came != list(expected):
        raise ValueError(f"expected {what} of the shapes {list(expected)}, got {came}")


# --------------------------------------------------------------------------- the functions
def analysis(x: Tensor, levels: int) -> List[Tensor]:
    """J Haar levels with zero extension, the map read once and each band written once.

    Args:
        x: (..., H, W), any floating type.
        levels: J, 1 to ``MAX_LEVELS``.

    Returns:
        The 3J + 1 bands in the order of :meth:`freekd.frequency.WaveletBands.flat`; level j is
        (..., ceil(H / 2^j), ceil(W / 2^j)), float32, or float64 where x is.
    """
    cut, dtype = Cut(x.shape[-2:], levels), wide_dtype(x)
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
    cut, dtype = Cut(size, len(bands) // 3), wide_dtype(*bands)
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
    cut, dtype = Cut((height, width), levels), wide_dtype(student, teacher)
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


def mask_weights(
    teacher: Tensor,
    prompt: Tensor,
    levels: int,
    granularity: str = "band",
    squared: bool = False,
    magnitudes: bool = False,
    offset: Optional[Tensor] = None,
) -> List[Tensor]:
    """The weight that T prompts' masks put on each coefficient: (1/T) sum_i sigma(P_k,i . xi_k(t)).

    With ``magnitudes`` and ``offset`` (1/T) sum_i sigma(P_k,i . |xi_k(t)| + o_k,i): masks of band
    energy, see :mod:`freekd.prompts.forms`.

    Args:
        teacher: t (N, C, H, W), any floating type; read once (for T > 3 the same part several times
            by programs that run side by side).
        prompt: P. With ``granularity='band'`` (3J + 1, T, C); with ``'level'`` (J + 1, T, C), the
            first for LL, the others for the *sum* of a level's three bands, which share the mask.
        levels: J, 1 to ``MAX_LEVELS``.
        squared: the mean of sigma^2 instead, for the squared distance.
        magnitudes: |xi_k(t)| instead of xi_k(t); each, before a level's three are summed.
        offset: o, of P's shape without its last axis; None for 0.

    Returns:
        3J + 1 weights (N, h, w) in the order of :func:`analysis`, in float32, or float64 where the
        teacher is. Bands that share a mask share the tensor. All are views of one buffer.

    Raises:
        ValueError: for another granularity, or a prompt or an offset of another shape.
    """
    if granularity not in ("band", "level"):
        raise ValueError(f"granularity={granularity!r} is not known; expected 'band' or 'level'")
    images, channels = teacher.shape[:2]
    cut, dtype = Cut(teacher.shape[-2:], levels), wide_dtype(teacher)
    shared = granularity == "level"
    sizes = cut.band_sizes()[:: 3 if shared else 1]
    groups, prompts = len(sizes), prompt.shape[1]
    check_shapes("a prompt", [prompt.shape], [(groups, prompts, channels)])
    if offset is not None:
        check_shapes("an offset", [offset.shape], [(groups, prompts)])
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
        prompt if offset is None else offset.contiguous(),  # not read
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
        MAGNITUDES=magnitudes,
        OFFSET=offset is not None,
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
