"""Forms of a prompt: how the logits M of its masks sigma(M) come from a band's coefficients R.

All forms have one shape, M = W v + o: the prompt's factors W (T, C) times what is read of each
coefficient by itself, v (C, h, w), and an offset o (T). So whatever knows W, v and o can sum over
channels in any order, a few at a time or in a GPU's kernel, and needs to know no form by name.
"""

from typing import Dict, List, NamedTuple, Optional, Type

import torch
from torch import Tensor

from freekd.frequency import Bands, Transform

_LEAST_MEAN = 1e-20  # a smaller mean of |R| is that of a channel that is silent


class Factors(NamedTuple):
    """W and o of all groups of a pyramid level: (G, T, C), and (G, T) or None for 0."""

    weights: Tensor
    offset: Optional[Tensor]


class SignedForm:
    """The published form, M = P R (Eq. 5): v = R, W = P, o = 0.

    sigma is odd about 1/2, sigma(-P R) = 1 - sigma(P R), and a detail coefficient has either sign,
    so a mask of this form cannot say that there is much detail at a place.

    Args:
        mean, bias: not used.
    """

    has_mean = False  # whether it needs the mean of what it reads
    has_bias = False  # whether it learns a number for each prompt besides
    magnitudes = False  # whether it reads |R|; else R, and then it is linear in the map

    def __init__(self, mean: Optional[Tensor] = None, bias: Optional[Tensor] = None) -> None:
        self.mean, self.bias = mean, bias

    def read(self, bands: Bands, transform: Transform, granularity: str) -> List[Tensor]:
        """v (N, C, h, w) of each group; groups of several bands read the sum over them."""
        return transform.prompted(bands, granularity)

    def factors(self, prompt: Tensor) -> Factors:
        """W and o of a prompt P (G, T, C); differentiable."""
        return Factors(prompt, None)


class EnergyForm(SignedForm):
    """M = P e with e = |R| / s - 1, how much more detail a place has than its channel on average.

    s (G, C) is the mean of |R| over images and positions, for each channel and group; where a group
    has several bands (granularity ``level``) |R| is summed over them first, here and in s. So
    v = |R|, W = P / s and o = - sum_c P_c. The masks of -R are those of R, and e has the mean 0.
    A channel without any energy (s = 0) has e = 0, so no say; if all are silent every mask is 1/2.

    Args:
        mean: s, a constant to the gradient.
        bias: not used.
    """

    has_mean = True
    magnitudes = True

    def read(self, bands: Bands, transform: Transform, granularity: str) -> List[Tensor]:
        """|R|, summed over a group's bands."""
        sizes = transform.bands([band.abs() for band in bands.flat()])
        return transform.prompted(sizes, granularity)

    def factors(self, prompt: Tensor) -> Factors:
        """P / s and - sum_c P_c; without the channels that are silent."""
        assert self.mean is not None
        mean = self.mean.to(prompt.dtype).unsqueeze(1)
        heard = mean > _LEAST_MEAN
        kept = torch.where(heard, prompt, torch.zeros_like(prompt))
        return Factors(kept / mean.clamp_min(_LEAST_MEAN), -kept.sum(dim=2))


class EnergyBiasForm(EnergyForm):
    """M = P e + b, with e as in :class:`EnergyForm` and a learned b for each prompt.

    Since e has the mean 0, a price on what passes has at P = 0 no slope in P: with M = P e masks
    stay near 1/2 until L_dis drives them apart. It has one in b. So b closes a mask, the task's
    loss opens it by P where it needs the place, and sigma(M) is near 0 where nothing is.

    Args:
        mean: s.
        bias: b (G, T), 0 at the start.
    """

    has_bias = True

    def factors(self, prompt: Tensor) -> Factors:
        """P / s and b - sum_c P_c."""
        weights, offset = super().factors(prompt)
        assert self.bias is not None and offset is not None
        return Factors(weights, self.bias + offset)


FORMS: Dict[str, Type[SignedForm]] = {
    "signed": SignedForm,
    "energy": EnergyForm,
    "energy_bias": EnergyBiasForm,
}
SIGNED = SignedForm()
