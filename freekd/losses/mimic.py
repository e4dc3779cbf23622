"""``FeatureMSELoss``: the maps themselves, after a 1x1 convolution; plain imitation.

    L = mean( (phi(s) - t)^2 )

over images, channels and positions. The release's configs set it beside FreeKD.
"""

from typing import Optional

from torch import Tensor
from torch.nn import functional as F

from freekd.widen import widened

from .card import Bundled, Card
from .levels import Channels, LevelsLoss
from .parts import mean_over_channels


class FeatureMSELoss(LevelsLoss):
    """Spatial imitation: sum over levels of mean (phi(F^s) - F^t)^2.

    The term that the release's configs put on the 1x1-aligned outputs of the FPN. Its alignment is
    its own; in MMRazor's stock ``SingleTeacherDistiller`` and in :class:`FreeKDDistiller`.

    Args:
        student_channels, teacher_channels: channels of the tapped maps: one number for all pyramid
            levels, or one per level, finest first.
        num_levels: number of pyramid levels; 1 for a module that gives a single tensor.
        align: ``conv1x1`` (the release), ``auto`` or None, see
            :func:`freekd.losses.align.build_align`.
        loss_weight: its weight.

    Raises:
        ValueError: a contradictory option, or a value of another kind; names the config key.
    """

    def __init__(
        self,
        student_channels: Channels,
        teacher_channels: Channels,
        num_levels: int,
        align: Optional[str] = "conv1x1",
        loss_weight: float = 1.0,
    ) -> None:
        super().__init__(student_channels, teacher_channels, num_levels, align, loss_weight)

    def level_loss(self, level: int, student: Tensor, teacher: Tensor) -> Tensor:
        """The mean squared difference."""

        def of_channels(part: slice, piece: Tensor) -> Tensor:
            return F.mse_loss(widened(piece), widened(teacher[:, part]))

        return mean_over_channels(of_channels, student)

    def extra_repr(self) -> str:
        return f"loss_weight={self.loss_weight:g}"


CARD = Card(
    name="mimic",
    title="Feature imitation",
    summary="The maps themselves: the mean squared difference after a 1x1 convolution.",
    module=FeatureMSELoss,
    tasks=("det", "seg"),
    taps=dict(det="neck", seg="decode_head.conv_seg"),
    bundled=dict(
        det=dict(
            mimic=Bundled(
                "configs/mimic/retinanet_r34_r18_digits.py", "feature imitation", "imitation"
            )
        ),
        sam=dict(
            mimic=Bundled(
                "configs/mimic/sam_tiny_w96_w24_digits_encoder.py",
                "mean squared error",
                "squared error",
                "configs/decoder/sam_tiny_w96_w24_digits.py",
            )
        ),
    ),
)
