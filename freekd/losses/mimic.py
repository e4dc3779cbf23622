"""``FeatureMSELoss``: the spatial term that the release's configs set beside FreeKD."""

from typing import Any, List, Mapping, Optional, Sequence, Tuple, Union

import torch
from torch import Tensor, nn

from freekd.checks import check_channels, check_choice, check_integer, check_weight
from freekd.prompts.spec import expand_channels
from freekd.widen import widened

from .align import ALIGNMENTS, Feats, aligned_levels, build_align, check_levels
from .card import Card


class FeatureMSELoss(nn.Module):
    """Spatial imitation beside FreeKD: sum over levels of mean (phi(F^s) - F^t)^2.

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

    takes_levels = True
    widens = True  # takes low precision as it comes, as FreeKDLoss

    @staticmethod
    def check_options(options: Mapping[str, Any], key: str) -> None:
        """What a config says, by its config keys; raises ValueError."""
        if "align" in options:
            check_choice(f"{key}.align", options["align"], ALIGNMENTS)

    def __init__(
        self,
        student_channels: Union[int, Sequence[int]],
        teacher_channels: Union[int, Sequence[int]],
        num_levels: int,
        align: Optional[str] = "conv1x1",
        loss_weight: float = 1.0,
    ) -> None:
        super().__init__()
        check_channels("student_channels", student_channels)
        check_channels("teacher_channels", teacher_channels)
        check_integer("num_levels", num_levels, 64)
        check_weight("loss_weight", loss_weight)
        self.student_channels = expand_channels(student_channels, num_levels, "student_channels")
        self.teacher_channels = expand_channels(teacher_channels, num_levels, "teacher_channels")
        self.align = build_align(align, self.student_channels, self.teacher_channels)
        self.loss_weight = loss_weight

    def check_feats(self, student: Feats, teacher: Feats) -> Tuple[List[Tensor], List[Tensor]]:
        """As :meth:`FreeKDLoss.check_feats`."""
        name = type(self).__name__
        return (
            check_levels(student, self.student_channels, "student", name),
            check_levels(teacher, self.teacher_channels, "teacher", name),
        )

    def forward(self, student_feats: Feats, teacher_feats: Feats) -> Tensor:
        """A scalar, ``loss_weight`` included; float32 also under autocast.

        Args:
            student_feats: (N, C_s, H_s, W_s), or a tuple of such, one per pyramid level.
            teacher_feats: (N, C, H, W), likewise. No gradient flows into them.

        Raises:
            ValueError: levels or channels are not those of the config.
        """
        student, teacher = self.check_feats(student_feats, teacher_feats)
        with torch.autocast(device_type=teacher[0].device.type, enabled=False):
            terms = [
                nn.functional.mse_loss(widened(s), widened(t.detach()))
                for s, t in zip(aligned_levels(student, teacher, self.align), teacher)
            ]
        return self.loss_weight * torch.stack(terms).sum()


CARD = Card(
    name="mimic",
    title="Feature imitation",
    summary="The maps themselves: the mean squared difference after a 1x1 convolution.",
    module=FeatureMSELoss,
    tasks=("det", "seg"),
    taps=dict(det="neck", seg="decode_head.conv_seg"),
)
