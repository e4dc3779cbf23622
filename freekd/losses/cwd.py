"""``CWDLoss``: each channel of a map as a distribution over its positions (Shu et al.).

    L = tau^2 / (N C) sum_{n,c} KL( phi(t_nc) || phi(s_nc) )
    phi(x)_i = exp(x_i / tau) / sum_j exp(x_j / tau)

with i and j the H W positions of a channel of an image; for features and for class maps alike.
"""

from functools import partial
from typing import Any, Mapping, Optional

import torch
from torch import Tensor

from freekd.checks import check_temperature
from freekd.frequency.transform import TransformLike
from freekd.widen import widened

from .card import Bundled, Card
from .domain import Domain, check_domain
from .levels import Channels, LevelsLoss


def cwd_loss(student: Tensor, teacher: Tensor, tau: float = 1.0) -> Tensor:
    """The equation above.

    Args:
        student, teacher: (N, C, H, W), aligned. No gradient flows into ``teacher``.
        tau: temperature, above 0: the larger, the more positions count beside the strongest.

    Returns:
        A scalar, in float32 at least.

    >>> student = torch.tensor([[[[3.0, 1.0]]]]).log()  # (3/4, 1/4)
    >>> round(float(cwd_loss(student, torch.zeros(1, 1, 1, 2))), 4)  # ln(2/3) / 2 + ln(2) / 2
    0.1438
    """
    logs = [
        torch.log_softmax(widened(side).flatten(2) / tau, dim=2)
        for side in (student, teacher.detach())
    ]
    divergence = (logs[1].exp() * (logs[1] - logs[0])).sum(2)
    return tau**2 * divergence.mean()


class CWDLoss(LevelsLoss):
    """Channel-wise distillation, summed over levels, see :func:`cwd_loss`.

    On a single map it has the value of MMRazor's ``ChannelWiseDivergence``.

    Args:
        student_channels, teacher_channels, num_levels, align: as in
            :class:`freekd.losses.levels.LevelsLoss`.
        tau: temperature, at least 0.001.
        domain: ``spatial`` (the paper), or ``frequency``: the positions of each band of a
            transform instead, see :mod:`freekd.losses.domain`.
        transform: of the frequency domain; None: Haar, J = 3, zero extension.
        bands: of the frequency domain: ``high``, ``all``, ``low``.
        loss_weight: its weight.

    Raises:
        ValueError: an option out of range; names the config key.
    """

    @staticmethod
    def check_options(options: Mapping[str, Any], key: str) -> None:
        """What a config says, by its config keys; raises ValueError."""
        LevelsLoss.check_options(options, key)
        check_domain(options, f"{key}.")
        if "tau" in options:
            check_temperature(f"{key}.tau", options["tau"])

    def __init__(
        self,
        student_channels: Channels,
        teacher_channels: Channels,
        num_levels: int,
        tau: float = 1.0,
        domain: str = "spatial",
        transform: Optional[TransformLike] = None,
        bands: str = "high",
        align: Optional[str] = "auto",
        loss_weight: float = 1.0,
    ) -> None:
        super().__init__(student_channels, teacher_channels, num_levels, align, loss_weight)
        check_temperature("tau", tau)
        self.tau = float(tau)
        self.domain = Domain(domain, transform, bands)

    def level_loss(self, level: int, student: Tensor, teacher: Tensor) -> Tensor:
        """:func:`cwd_loss` in the domain."""
        return self.domain.mean(partial(cwd_loss, tau=self.tau), student, teacher)

    def extra_repr(self) -> str:
        return f"tau={self.tau:g}, {self.domain}, loss_weight={self.loss_weight:g}"


def _hint(loss: CWDLoss) -> str:
    """The weights that the method's authors and MMRazor take."""
    return (
        "the paper: loss_weight=3 on class maps, 50 on features, with tau=4; MMRazor's configs: 5 "
        "with tau=1. A mean over bands, so domain='frequency' begins with the same"
    )


CARD = Card(
    name="cwd",
    title="CWD",
    summary="Each channel as a distribution over its positions: the divergence from the teacher's.",
    module=CWDLoss,
    also=("ChannelWiseDivergence",),
    paper="Channel-wise Knowledge Distillation for Dense Prediction, ICCV 2021, "
    "https://arxiv.org/abs/2011.13256",
    tasks=("det", "seg"),
    taps=dict(det="neck", seg="decode_head.conv_seg"),
    hint=_hint,
    bundled=dict(
        det=dict(
            cwd=Bundled("configs/cwd/retinanet_r34_r18_digits.py", "CWD", "CWD"),
            cwd_frequency=Bundled(
                "configs/cwd/retinanet_r34_r18_digits_frequency.py",
                "CWD on the high bands",
                "CWD, high bands",
            ),
        ),
        seg=dict(cwd=Bundled("configs/cwd/fpn_r34_r18_digits_seg.py", "CWD", "CWD")),
    ),
)
