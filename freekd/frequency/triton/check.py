"""The kernels against the torch path, once for each GPU, before anything relies on them.

Of the many cards and versions of Triton few were tried. So the first use of a device computes small
cases of each kernel there and the same on the CPU; where they disagree, or a kernel cannot be
compiled, a warning says so and the torch path is taken instead. (A kernel that faults ends the
process, as any does.)
"""

import warnings
from functools import lru_cache
from typing import Callable, Dict, List, Optional, Sequence, Tuple

import torch
from torch import Tensor

from freekd.frequency.butterfly import torch_analysis, torch_synthesis
from freekd.frequency.triton import ops


def usable(x: Tensor, levels: int = 1) -> bool:
    """Whether maps like ``x`` (..., H, W) go through the kernels: they can, and are trusted."""
    return ops.available(x, levels) and (not x.is_cuda or trusted(x.device))


@lru_cache(maxsize=None)
def trusted(device: torch.device) -> bool:
    """Whether the kernels give the torch path's numbers on ``device``; compiles a few, seconds."""
    try:
        wrong = disagreements(device)
    except Exception as error:  # whatever a compiler or a driver may raise
        wrong = [f"{type(error).__name__}: {error}"]
    if wrong:
        warnings.warn(
            f"freekd: the Triton kernels do not work on {device} ({'; '.join(wrong)}); the slower "
            "torch path is used instead, results are the same. Please report this; "
            "FREEKD_TRITON=0 in the environment silences it.",
            RuntimeWarning,
            stacklevel=2,
        )
    return not wrong


def disagreements(device: torch.device, rtol: float = 1e-4) -> List[str]:
    """Names of the kernels whose results differ from the torch path's on the CPU.

    Widths that four, two and only one divide are compiled into kernels of their own; so are the
    number of levels, low precision, both distances and both granularities.
    """
    cases = (
        (3, (13, 20), torch.float32, False, "band"),
        (3, (12, 22), torch.bfloat16, True, "level"),
        (1, (7, 11), torch.float32, False, "band"),
    )
    with torch.autocast(device_type=device.type, enabled=False), torch.autocast(
        "cpu", enabled=False
    ):
        return [wrong for case in cases for wrong in _wrong_in(device, rtol, *case)]


def _wrong_in(
    device: torch.device,
    rtol: float,
    levels: int,
    size: Tuple[int, int],
    dtype: torch.dtype,
    squared: bool,
    granularity: str,
) -> List[str]:
    generator = torch.Generator().manual_seed(0)

    def random(*shape: int) -> Tensor:
        values = torch.randn(*shape, generator=generator, device="cpu", dtype=torch.float32)
        return values.to(dtype).float()  # the same numbers in any type

    student, teacher = random(2, 5, *size), random(2, 5, *size)
    omega, groups = random(2, 5).abs(), 3 * levels + 1 if granularity == "band" else levels + 1
    prompt = random(groups, 2, 5)
    bands, own = (torch_analysis(x, levels) for x in (student - teacher, teacher))
    weights = [random(2, *band.shape[-2:]).abs() for band in bands]
    offset = random(groups, 2)
    slopes, value = [], 0.0
    for band, weight in zip(bands, weights):
        factor = weight[:, None] * omega[:, :, None, None]
        slopes.append(3.0 * factor * (2 * band if squared else band.sign()))
        value += float((factor * (band.square() if squared else band.abs())).sum())
    masks = _masks(own, prompt, granularity, squared)
    of_energy = _masks([band.abs() for band in own], prompt, granularity, squared, offset)

    s, t = (x.to(device=device, dtype=dtype) for x in (student, teacher))
    weights = [weight.to(device) for weight in weights]
    options = (weights, omega.to(device), levels, squared)
    three = torch.tensor(3.0, device=device, dtype=torch.float32)
    loose = max(rtol, 4 * torch.finfo(dtype).eps)  # the gradient is rounded to the student's type
    cases: Dict[str, Callable[[], bool]] = {
        "analysis": lambda: _close(ops.analysis(t, levels), own, rtol),
        "synthesis": lambda: _close(
            [ops.synthesis([b.to(device) for b in own], size)], [teacher], rtol
        ),
        "distance_value": lambda: _close(
            [ops.distance_value(s, t, *options)],
            [torch.tensor(value, device="cpu", dtype=torch.float32)],
            rtol,
        ),
        "distance_gradient": lambda: _close(
            [ops.distance_gradient(s, t, *options, three)],
            [torch_synthesis(slopes, size)],
            loose,
        ),
        "mask_weights": lambda: _close(
            ops.mask_weights(t, prompt.to(device), levels, granularity, squared),
            masks,
            rtol,
        ),
        "mask_weights of energy": lambda: _close(
            ops.mask_weights(
                t, prompt.to(device), levels, granularity, squared, True, offset.to(device)
            ),
            of_energy,
            rtol,
        ),
    }
    return [name for name, agrees in cases.items() if not agrees()]


def _masks(
    bands: Sequence[Tensor],
    prompt: Tensor,
    granularity: str,
    squared: bool,
    offset: Optional[Tensor] = None,
) -> List[Tensor]:
    """The masks' weights, written out."""
    masks = []
    for k, band in enumerate(bands):
        group = k
        if granularity == "level" and k:
            group = (k + 2) // 3
            band = bands[3 * group - 2] + bands[3 * group - 1] + bands[3 * group]
        logits = torch.einsum("tc,nchw->nthw", prompt[group], band)
        if offset is not None:
            logits = logits + offset[group][:, None, None]
        mask = logits.sigmoid()
        masks.append((mask.square() if squared else mask).mean(1))
    return masks


def _close(found: Sequence[Tensor], wanted: Sequence[Tensor], rtol: float) -> bool:
    scale = max(float(x.abs().max()) for x in wanted)
    return len(found) == len(wanted) and all(
        torch.allclose(a.cpu().float(), b, rtol=0, atol=rtol * scale) for a, b in zip(found, wanted)
    )
