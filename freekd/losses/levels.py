"""What the losses on the maps of several levels have in common: channels, alignment, weight."""

from typing import Any, List, Mapping, Optional, Sequence, Tuple, Union

import torch
from torch import Tensor, nn

from freekd.checks import check_channels, check_choice, check_integer, check_weight
from freekd.prompts.spec import expand_channels

from .align import ALIGNMENTS, Feats, aligned_levels, build_align, check_levels

Channels = Union[int, Sequence[int]]


class LevelsLoss(nn.Module):
    """A loss on the maps of one or several levels, summed over them; a base class.

    Args:
        student_channels, teacher_channels: channels of the tapped maps: one number for all levels,
            or one per level, finest first.
        num_levels: number of levels; 1 for a module that gives a single tensor.
        align: ``auto``, a 1x1 convolution where channels differ; ``conv1x1``, always; None, never.
        loss_weight: the weight of the term.

    Raises:
        ValueError: a contradictory option, or a value of another kind; names the config key.
    """

    takes_levels = True  # forward gets all levels of a tap
    widens = True  # and low precision as it comes: computed in float32

    @staticmethod
    def check_options(options: Mapping[str, Any], key: str) -> None:
        """What a config says, by its config keys; raises ValueError."""
        if "align" in options:
            check_choice(f"{key}.align", options["align"], ALIGNMENTS)

    def __init__(
        self,
        student_channels: Channels,
        teacher_channels: Channels,
        num_levels: int,
        align: Optional[str] = "auto",
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
        """Both sides as lists of maps, with the levels and channels of the config.

        Raises:
            FeatureError: they have others; names both numbers and the key.
        """
        name = type(self).__name__
        return (
            check_levels(student, self.student_channels, "student", name),
            check_levels(teacher, self.teacher_channels, "teacher", name),
        )

    def aligned(self, student: Feats, teacher: Feats) -> List[Tuple[Tensor, Tensor]]:
        """Per level phi(F^s) and F^t: of the teacher's channels and size, the teacher detached.

        Raises:
            FeatureError: as :meth:`check_feats`.
        """
        students, teachers = self.check_feats(student, teacher)
        teachers = [feat.detach() for feat in teachers]
        return list(zip(aligned_levels(students, teachers, self.align), teachers))

    def level_loss(self, level: int, student: Tensor, teacher: Tensor) -> Tensor:
        """The loss of one level, before ``loss_weight``.

        Args:
            level: its number, for what a loss has per level.
            student, teacher: (N, C, H, W), as :meth:`aligned` gives them.
        """
        raise NotImplementedError

    def forward(self, student_feats: Feats, teacher_feats: Feats) -> Tensor:
        """A scalar, ``loss_weight`` included; float32 also under autocast.

        Args:
            student_feats: (N, C_s, H_s, W_s), or a tuple of such, one per level.
            teacher_feats: (N, C, H, W), likewise. No gradient flows into them.

        Raises:
            FeatureError: levels or channels are not those of the config.
        """
        _, teachers = self.check_feats(student_feats, teacher_feats)
        with torch.autocast(device_type=teachers[0].device.type, enabled=False):
            levels = enumerate(self.aligned(student_feats, teacher_feats))
            terms = [self.level_loss(level, *maps) for level, maps in levels]
            return self.loss_weight * torch.stack(terms).sum()
