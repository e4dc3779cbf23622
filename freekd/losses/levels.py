"""What the losses on the maps of several levels have in common: channels, alignment, weight."""

from typing import Any, Callable, Iterable, List, Mapping, Optional, Sequence, Tuple, Union

import torch
from torch import Tensor, nn

from freekd.checks import check_channels, check_choice, check_integer, check_weight
from freekd.prompts.spec import expand_channels
from freekd.widen import wide_dtype

from .align import ALIGNMENTS, Feats, aligned_levels, build_align, check_levels

Channels = Union[int, Sequence[int]]
OfLevel = Callable[[int, Tensor, Tensor], Tensor]  # of its number, student and teacher: its loss


class LevelsLoss(nn.Module):
    """A loss on the maps of one or several levels, summed over them; a base class.

    Args:
        student_channels, teacher_channels: channels of the tapped maps: one number for all levels,
            or one per level, finest first.
        num_levels: number of levels; 1 for a module that gives a single tensor.
        align: ``auto``, a 1x1 convolution where channels differ; ``conv1x1``, always; None, never.
        loss_weight: the weight of the term.
        taught: the levels that are compared; the others have no convolution.

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
        taught: slice = slice(None),
    ) -> None:
        super().__init__()
        check_channels("student_channels", student_channels)
        check_channels("teacher_channels", teacher_channels)
        check_integer("num_levels", num_levels, 64)
        check_weight("loss_weight", loss_weight)
        self.student_channels = expand_channels(student_channels, num_levels, "student_channels")
        self.teacher_channels = expand_channels(teacher_channels, num_levels, "teacher_channels")
        channels = self.student_channels[taught], self.teacher_channels[taught]
        self.align = build_align(align, *channels)
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

    def aligned(
        self, student: Sequence[Tensor], teacher: Sequence[Tensor]
    ) -> Iterable[Tuple[Tensor, Tensor]]:
        """Per level phi(F^s) and F^t: of the teacher's channels and size, the teacher detached.

        Args:
            student, teacher: as :meth:`check_feats` gives them.
        """
        students = [self._as_learned(feat) for feat in student]
        teachers = [self._as_learned(feat.detach()) for feat in teacher]
        return list(zip(aligned_levels(students, teachers, self.align), teachers))

    def _as_learned(self, feat: Tensor) -> Tensor:
        """A map that is float64 while the loss's parameters are not, or the reverse, as they are.

        Low precision stays as it is: it is widened a part at a time.
        """
        for parameter in self.parameters():
            if wide_dtype(feat) != wide_dtype(parameter):
                return feat.to(wide_dtype(parameter))
            break
        return feat

    def level_loss(self, level: int, student: Tensor, teacher: Tensor) -> Tensor:
        """The loss of one level, before ``loss_weight``.

        Args:
            level: its number, for what a loss has per level.
            student, teacher: (N, C, H, W), as :meth:`aligned` gives them.
        """
        raise NotImplementedError

    def forward(self, student_feats: Feats, teacher_feats: Feats) -> Tensor:
        """A scalar, ``loss_weight`` included; float32 also under autocast.

        A loss with parameters computes in their type: float64 after ``.double()``. One without
        keeps float64 maps so.

        Args:
            student_feats: (N, C_s, H_s, W_s), or a tuple of such, one per level.
            teacher_feats: (N, C, H, W), likewise. No gradient flows into them.

        Raises:
            FeatureError: levels or channels are not those of the config.
        """
        return self.summed(student_feats, teacher_feats, self.level_loss)

    def summed(self, student_feats: Feats, teacher_feats: Feats, of_level: OfLevel) -> Tensor:
        """:meth:`forward`, with what a loss makes of a level: one that needs a step's data too."""
        students, teachers = self.check_feats(student_feats, teacher_feats)
        with torch.autocast(device_type=teachers[0].device.type, enabled=False):
            levels = enumerate(self.aligned(students, teachers))
            terms = [of_level(level, *maps) for level, maps in levels]
            return self.loss_weight * torch.stack(terms).sum()
