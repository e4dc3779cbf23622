"""The Fourier feature loss step by step, as its specification says, with nothing rearranged.

Whole complex spectra, all four axes rolled, six standardisations by batch norm; autograd
differentiates it. What ours is compared with, in speed here and in value in the tests.
"""

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F


def sphere(spectrum: Tensor) -> Any:
    """Step 7: the three coordinates of a + ib on the Riemann sphere."""
    a, b = spectrum.real, spectrum.imag
    length = a**2 + b**2 + 1
    return 2 * a / length, 2 * b / length, (a**2 + b**2 - 1) / length


def standardised(feat: Tensor) -> Tensor:
    """Step 7: by the batch's own mean and biased variance, nothing learned."""
    return F.batch_norm(feat, None, None, training=True, eps=1e-5)


def shifted(feat: Tensor, shift: str) -> Tensor:
    """The spectrum of step 4, as the reference or along the last two axes alone."""
    spectrum = torch.fft.fft2(feat, norm="ortho")
    return torch.fft.fftshift(spectrum, dim=None if shift == "all" else (-2, -1))


def fourier(student: Tensor, teacher: Tensor, noise: Tensor, part: Any, shift: str) -> Tensor:
    """Steps 2 to 8 without lambda.

    Args:
        student, teacher: (N, C, H, W).
        noise: U, (N, C, H, W).
        part: with ``pre_conv``, ``amp_conv_student``, ``amp_conv_teacher``, ``fusion_logit``.
        shift: ``all`` or ``spatial``.
    """
    weight = 1 - F.cosine_similarity(student.flatten(2), teacher.flatten(2), dim=2, eps=1e-8)
    own, other = shifted(part.pre_conv(student), shift), shifted(teacher, shift)
    alpha = part.fusion_logit.sigmoid().view(1, -1, 1, 1)
    fused = alpha * part.amp_conv_student(own.abs())
    fused = fused + (1 - alpha) * part.amp_conv_teacher(other.abs())
    own = torch.polar(torch.ones_like(fused), own.angle()) * (fused * noise)
    total = student.new_zeros(())
    for mine, theirs in zip(sphere(own), sphere(other)):
        error = (standardised(mine) - standardised(theirs)) ** 2
        total = total + (weight[:, :, None, None] * error).mean()
    return total / 2


def loss(ours: Any, student: Any, teacher: Any) -> Tensor:
    """What the built loss ``ours`` computes, from its own parameters; it draws the noise."""
    total = student[0].new_zeros(())
    for part, s, t in zip(ours.levels, student, teacher):
        noise = ours.draw_noise(s.shape, s.device).to(s.dtype)
        total = total + fourier(s, t.detach(), noise, part, ours.shift)
    return ours.loss_weight * total
