"""The kernels against the torch path, once for each GPU, before anything relies on them.

They were written without a GPU at hand. So the first use of a device computes one small case of
each kernel there and the same on the CPU; where they disagree, or a kernel fails, a warning says
so and the torch path is taken instead: slower, never wrong.
"""

import warnings
from functools import lru_cache
from typing import Callable, Dict, List, Sequence

import torch
from torch import Tensor

from . import haar_triton


def usable(x: Tensor, levels: int = 1) -> bool:
    """Whether maps like ``x`` (..., H, W) go through the kernels: they can, and are trusted."""
    return haar_triton.available(x, levels) and (not x.is_cuda or trusted(x.device))


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


def disagreements(device: torch.device, levels: int = 3, rtol: float = 1e-4) -> List[str]:
    """Names of the kernels whose results differ from the torch path's on the CPU."""
    from .haar import torch_analysis, torch_synthesis  # which asks whether this device is trusted

    generator = torch.Generator().manual_seed(0)

    def random(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator)

    size = (13, 20)  # an odd height, columns by four
    student, teacher, prompt = (
        random(2, 5, *size),
        random(2, 5, *size),
        random(3 * levels + 1, 2, 5),
    )
    omega = random(2, 5).abs()
    bands, teacher_bands = (torch_analysis(x, levels) for x in (student - teacher, teacher))
    weights = [random(2, *band.shape[-2:]).abs() for band in bands]
    slopes, value = [], 0.0
    for band, weight in zip(bands, weights):
        factor = weight[:, None] * omega[:, :, None, None]
        slopes.append(3.0 * factor * band.sign())
        value += float((factor * band.abs()).sum())
    masks = [
        torch.einsum("tc,nchw->nthw", weight, band).sigmoid().mean(1)
        for weight, band in zip(prompt, teacher_bands)
    ]

    there = [x.to(device) for x in (student, teacher, omega, prompt)]
    on_device = [weight.to(device) for weight in weights]
    three = torch.tensor(3.0, device=device)
    options = (on_device, there[2], levels, False)
    cases: Dict[str, Callable[[], bool]] = {
        "analysis": lambda: _close(haar_triton.analysis(there[1], levels), teacher_bands, rtol),
        "synthesis": lambda: _close(
            [haar_triton.synthesis([b.to(device) for b in teacher_bands], size)], [teacher], rtol
        ),
        "distance_value": lambda: _close(
            [haar_triton.distance_value(there[0], there[1], *options)], [torch.tensor(value)], rtol
        ),
        "distance_gradient": lambda: _close(
            [haar_triton.distance_gradient(there[0], there[1], *options, three)],
            [torch_synthesis(slopes, size)],
            rtol,
        ),
        "mask_weights": lambda: _close(
            haar_triton.mask_weights(there[1], there[3], levels), masks, rtol
        ),
    }
    return [name for name, agrees in cases.items() if not agrees()]


def _close(found: Sequence[Tensor], wanted: Sequence[Tensor], rtol: float) -> bool:
    scale = max(float(x.abs().max()) for x in wanted)
    return all(torch.allclose(a.cpu(), b, rtol=0, atol=rtol * scale) for a, b in zip(found, wanted))
