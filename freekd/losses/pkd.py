"""``PKDLoss``: the Pearson correlation of each channel with the teacher's (Cao et al.).

    L = 1/2 mean( (z(s) - z(t))^2 ),    z(x) = (x - mean_c(x)) / sqrt(var_c(x) + eps)

with mean and variance of each channel c over (N, H, W). As the mean square of z is 1, a channel's
share is 1 - r_c, with r_c the correlation of its values in student and teacher (up to eps).
"""

from typing import Any, Mapping, Optional

from torch import Tensor
from torch.nn import functional as F

from freekd.frequency.transform import TransformLike

from .align import standardize
from .card import Bundled, Card
from .domain import Domain, check_domain
from .levels import Channels, LevelsLoss


def pkd_loss(student: Tensor, teacher: Tensor) -> Tensor:
    """The equation above, eps 1e-6.

    A channel without variance, of student or teacher, is 0 after z.

    Args:
        student, teacher: (N, C, H, W), aligned. No gradient flows into ``teacher``.

    Returns:
        A scalar, in float32 at least; from 0, at correlation 1, to 2, at -1.

    >>> import torch
    >>> feat = torch.arange(6.0).view(1, 1, 2, 3)
    >>> round(float(pkd_loss(5 * feat + 3, feat)), 4), round(float(pkd_loss(-feat, feat)), 4)
    (0.0, 2.0)
    """
    return 0.5 * F.mse_loss(standardize(student), standardize(teacher.detach()))


class PKDLoss(LevelsLoss):
    """Distillation by Pearson correlation, summed over levels, see :func:`pkd_loss`.

    Scale and mean of a channel do not count, so that teacher and student may be of different kinds.
    The statistics are those of a process's own batch.

    Args:
        student_channels, teacher_channels, num_levels, align: as in
            :class:`freekd.losses.levels.LevelsLoss`.
        domain: ``spatial`` (the paper), or ``frequency``: each band of a transform is standardised
            by its own statistics instead, see :mod:`freekd.losses.domain`.
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

    def __init__(
        self,
        student_channels: Channels,
        teacher_channels: Channels,
        num_levels: int,
        domain: str = "spatial",
        transform: Optional[TransformLike] = None,
        bands: str = "high",
        align: Optional[str] = "auto",
        loss_weight: float = 6.0,
    ) -> None:
        super().__init__(student_channels, teacher_channels, num_levels, align, loss_weight)
        self.domain = Domain(domain, transform, bands)

    def level_loss(self, level: int, student: Tensor, teacher: Tensor) -> Tensor:
        """:func:`pkd_loss` in the domain."""
        return self.domain.mean(pkd_loss, student, teacher)

    def extra_repr(self) -> str:
        return f"{self.domain}, loss_weight={self.loss_weight:g}"


def _hint(loss: PKDLoss) -> str:
    """The weight of MMRazor's configs."""
    return (
        "1 - r of each channel, at most 2 per level whatever the features; MMRazor 1.x's configs "
        "for detection have loss_weight=6"
    )


CARD = Card(
    name="pkd",
    title="PKD",
    summary="Each channel's Pearson correlation with the teacher's, over images and positions.",
    module=PKDLoss,
    paper="PKD: General Distillation Framework for Object Detectors via Pearson Correlation "
    "Coefficient, NeurIPS 2022, https://arxiv.org/abs/2207.02039",
    tasks=("det", "seg"),
    taps=dict(det="neck", seg="decode_head.conv_seg"),
    hint=_hint,
    bundled=dict(
        det=dict(
            pkd=Bundled("configs/pkd/retinanet_r34_r18_digits.py", "PKD", "PKD"),
            pkd_frequency=Bundled(
                "configs/pkd/retinanet_r34_r18_digits_frequency.py",
                "PKD on the high bands",
                "PKD, high bands",
            ),
        )
    ),
)
