"""``FreeKDLoss``: the distillation loss of stage 2 (Eq. 13) as MMRazor's registry sees it."""

from typing import List, Optional, Sequence, Tuple, Union

import torch
from mmrazor.models.builder import LOSSES
from torch import Tensor

from freekd.functional import (
    BAND_CHOICES,
    DISTANCES,
    NORMALIZATIONS,
    check_choice,
    standardize,
    weighted_distance,
)
from freekd.held import HoldsFrozen
from freekd.prompt import FrequencyPrompts, PromptSpec, expand_channels
from freekd.prompt_file import load_prompts

from .align import (
    Feats,
    aligned_levels,
    build_align,
    check_channels,
    check_integer,
    check_levels,
    check_weight,
)


@LOSSES.register_module()
class FreeKDLoss(HoldsFrozen):
    """sum over levels and bands k of mean( omega^r (1/T) sum_i sigma(M_k,i) |a_k - b_k| ), Eq. 13.

    Works in MMRazor's stock ``SingleTeacherDistiller`` and in :class:`FreeKDDistiller`. The prompts
    and the gate come from a file that stage 1 wrote, and stay as they are: no gradient, ever. The
    loss owns phi, the 1x1 convolution from student to teacher channels and the bilinear resize.

    Args:
        student_channels, teacher_channels: channels of the tapped maps: one number for all
            pyramid levels, or one per level, finest first.
        num_levels: number of pyramid levels; 1 for a module that gives a single tensor.
        num_prompts: T, as the prompt file was made.
        wavelet, dwt_levels, dwt_mode: the transform, see :func:`freekd.frequency.dwt2`.
        granularity: ``band``, a prompt per band (the paper), or ``level`` (the release).
        bands: which bands count: ``all``, ``high`` (without LL, the release), ``low`` (LL alone).
        gate: ``position`` uses the gate in the prompt file; None leaves it out.
        align: ``auto``, a 1x1 convolution where channels differ; ``conv1x1``, always; None, never.
        normalize: None (the paper), or ``channel``: standardise each channel of student and
            teacher over (N, H, W) first, so that the loss does not depend on their scale. The
            statistics are those of a process's own batch.
        distance: ``l1`` (the paper), or ``l2``: the squared difference.
        prompts: path of the prompt file, or None: plain frequency distillation, Eq. 3, without
            masks and gate.
        loss_weight: mu.

    Raises:
        ValueError: an unknown or contradictory option, or prompts made for something else; names
            the config key.
        FileNotFoundError: no such prompt file; names the command that makes one.
    """

    takes_levels = True  # FreeKDDistiller passes the whole tuple of levels
    widens = True  # and low precision as it comes: read once, computed in float32

    def __init__(
        self,
        student_channels: Union[int, Sequence[int]],
        teacher_channels: Union[int, Sequence[int]],
        num_levels: int,
        num_prompts: int = 2,
        wavelet: str = "haar",
        dwt_levels: int = 3,
        dwt_mode: str = "zero",
        granularity: str = "band",
        bands: str = "all",
        gate: Optional[str] = "position",
        align: Optional[str] = "auto",
        normalize: Optional[str] = None,
        distance: str = "l1",
        prompts: Optional[str] = None,
        loss_weight: float = 1.0,
    ) -> None:
        super().__init__()
        check_channels("student_channels", student_channels)
        check_channels("teacher_channels", teacher_channels)
        check_integer("num_levels", num_levels, 64)
        check_integer("num_prompts", num_prompts, 1024)
        check_integer("dwt_levels", dwt_levels, 16)
        check_weight("loss_weight", loss_weight)
        if not isinstance(wavelet, str):
            raise ValueError(f"wavelet must be a name such as 'haar', got {wavelet!r}")
        if prompts is not None and (not isinstance(prompts, str) or not prompts):
            raise ValueError(f"prompts must be the path of a file, or None, got {prompts!r}")
        self.spec = PromptSpec.build(
            teacher_channels,
            num_levels,
            num_prompts,
            wavelet,
            dwt_levels,
            dwt_mode,
            granularity,
            gate if prompts is not None else None,
            key="teacher_channels",
        )
        check_choice("gate", gate, (None, "position"))
        check_choice("bands", bands, BAND_CHOICES)
        check_choice("normalize", normalize, NORMALIZATIONS)
        check_choice("distance", distance, DISTANCES)
        self.student_channels = expand_channels(student_channels, num_levels, "student_channels")
        self.bands = bands
        self.normalize = normalize
        self.distance = distance
        self.loss_weight = loss_weight
        self.align = build_align(align, self.student_channels, self.spec.channels)
        self.prompts: Optional[FrequencyPrompts] = None
        self.prompt_info = {}
        if prompts is not None:
            self.prompts, self.prompt_info = load_prompts(prompts, self.spec)
            self.hold("prompts")  # frozen, and of a file: not in checkpoints, nor seen by hooks

    def check_feats(self, student: Feats, teacher: Feats) -> Tuple[List[Tensor], List[Tensor]]:
        """Both sides as lists of maps, with the levels and channels of the config.

        Raises:
            FeatureError: they have others.
        """
        name = type(self).__name__
        return (
            check_levels(student, self.student_channels, "student", name),
            check_levels(teacher, self.spec.channels, "teacher", name),
        )

    def aligned(self, student: Sequence[Tensor], teacher: Sequence[Tensor]) -> List[Tensor]:
        """phi: the student's maps with the teacher's channels and sizes."""
        return aligned_levels(student, teacher, self.align)

    @torch.no_grad()
    def relation_weights(
        self, student: Sequence[Tensor], teacher: Sequence[Tensor]
    ) -> List[Optional[Tensor]]:
        """omega^r = omega^t omega^s (N, C) per level (Eq. 12), without gradient; None: no gate."""
        if self.prompts is None or self.prompts.gate is None:
            return [None] * len(teacher)
        gate = self.prompts.gate
        return [t * s for t, s in zip(gate(teacher), gate(student))]

    def forward(self, student_feats: Feats, teacher_feats: Feats) -> Tensor:
        """The loss of a batch, in MMRazor's order of arguments.

        Args:
            student_feats: (N, C_s, H_s, W_s), or a tuple of such, one per pyramid level.
            teacher_feats: (N, C, H, W), likewise. No gradient flows into them.

        Returns:
            A scalar, ``loss_weight`` included; computed in float32, also under autocast.

        Raises:
            ValueError: levels or channels are not those of the config.
        """
        student, teacher = self.check_feats(student_feats, teacher_feats)
        spec = self.spec
        with torch.autocast(device_type=teacher[0].device.type, enabled=False):
            teacher = [feat.detach() for feat in teacher]
            student = self.aligned(student, teacher)
            weights = self.relation_weights(student, teacher)
            masks: Sequence = [None] * len(teacher)
            if self.prompts is not None:
                masks = self.prompts.weights(teacher, self.distance)
            total = torch.zeros((), device=student[0].device)
            for s, t, mask, weight in zip(student, teacher, masks, weights):
                if self.normalize == "channel":
                    s, t = standardize(s), standardize(t)
                total = total + weighted_distance(
                    s,
                    t,
                    mask,
                    weight,
                    wavelet=spec.wavelet,
                    dwt_levels=spec.dwt_levels,
                    dwt_mode=spec.dwt_mode,
                    granularity=spec.granularity,
                    bands=self.bands,
                    distance=self.distance,
                )
        return self.loss_weight * total

    def extra_repr(self) -> str:
        """One line for ``print(model)``."""
        return (
            f"{self.spec}, bands={self.bands!r}, normalize={self.normalize!r}, "
            f"distance={self.distance!r}, loss_weight={self.loss_weight}, "
            f"prompted={self.prompts is not None}"
        )
