"""FreeKD's distillation loss (Eq. 13; without prompts Eq. 3): function, module.

Two identities keep it cheap: the transform is linear, so the bands of a difference are the
difference of bands; and a mask is positive, so T masked copies of a band reduce to one weight, the
mean over T of the mask (of its square for the squared distance).
"""

from typing import Dict, List, Optional, Sequence, Tuple, Union

import torch
from torch import Tensor

from freekd.checks import check_channels, check_choice, check_integer, check_weight
from freekd.frequency import dwt2
from freekd.frequency.groups import BAND_CHOICES, BandGroup, band_groups, selected_groups
from freekd.frequency.haar import wide_dtype
from freekd.frequency.haar_distance import can_fuse, haar_distance, weighted_sum
from freekd.frequency.wavelet import band_sizes, haar_applies
from freekd.held import HoldsFrozen
from freekd.prompts.file import load_prompts
from freekd.prompts.masks import DISTANCES, mask_weight
from freekd.prompts.prompts import FrequencyPrompts
from freekd.prompts.spec import PromptSpec, expand_channels

from .align import NORMALIZATIONS, Feats, aligned_levels, build_align, check_levels, standardize
from .card import Card


def freekd_loss(
    student: Tensor,
    teacher: Tensor,
    masks: Optional[Sequence[Tensor]] = None,
    channel_weight: Optional[Tensor] = None,
    wavelet: str = "haar",
    dwt_levels: int = 3,
    dwt_mode: str = "zero",
    granularity: str = "band",
    bands: str = "all",
    distance: str = "l1",
) -> Tensor:
    """The distillation loss of one pyramid level, Eq. 13; without masks and weights, Eq. 3.

    sum over groups k of mean( omega (1/T) sum_i |m_{k,i} a_k - m_{k,i} b_k| ), the mean over all
    coefficients of a group (N, C, h, w, and the three orientations of a ``level``).

    Args:
        student, teacher: (N, C, H, W), aligned; no gradient flows into ``teacher``.
        masks: for each group of :func:`band_groups` (N, T, h, w), all groups whatever ``bands``.
        channel_weight: omega (N, C).
        wavelet, dwt_levels, dwt_mode: as :func:`freekd.frequency.dwt2`.
        granularity: ``band`` or ``level``.
        bands: which bands count: ``all``, ``high`` (without LL), ``low`` (LL alone).
        distance: ``l1`` (the paper) or ``l2``, the squared difference.

    Returns:
        A scalar, in float32 at least.

    Raises:
        ValueError: shapes differ, an unknown option, or a wrong number of masks.

    >>> feat = torch.ones(1, 2, 8, 8)  # L1 of two constant maps lives in LL alone: 2^3 |1 - 0|
    >>> round(float(freekd_loss(torch.zeros_like(feat), feat)), 4)
    8.0
    """
    check_choice("distance", distance, DISTANCES)
    if masks is not None and len(masks) != len(band_groups(dwt_levels, granularity)):
        raise ValueError(
            f"expected masks for {len(band_groups(dwt_levels, granularity))} groups "
            f"(dwt_levels={dwt_levels}, granularity={granularity!r}), got {len(masks)}"
        )
    weights = None if masks is None else [mask_weight(mask, distance) for mask in masks]
    return weighted_distance(
        student,
        teacher,
        weights,
        channel_weight,
        wavelet,
        dwt_levels,
        dwt_mode,
        granularity,
        bands,
        distance,
    )


def weighted_distance(
    student: Tensor,
    teacher: Tensor,
    weights: Optional[Sequence[Tensor]] = None,
    channel_weight: Optional[Tensor] = None,
    wavelet: str = "haar",
    dwt_levels: int = 3,
    dwt_mode: str = "zero",
    granularity: str = "band",
    bands: str = "all",
    distance: str = "l1",
) -> Tensor:
    """:func:`freekd_loss` with each group's T masks already reduced to one weight (N or 1, h, w).

    With Haar the value and its gradient come from one pass over the maps, see
    :mod:`freekd.frequency.haar_distance`; other wavelets, odd sizes with other modes than ``zero``,
    weights that want a gradient, and second derivatives take the general way by themselves.

    Raises:
        ValueError: shapes differ, an unknown option, or weights of another size than the bands.
    """
    if student.shape != teacher.shape or student.dim() != 4:
        raise ValueError(
            f"student {tuple(student.shape)} and teacher {tuple(teacher.shape)} must be aligned, "
            "both (N, C, H, W)"
        )
    check_choice("distance", distance, DISTANCES)
    teacher = teacher.detach()
    dtype = wide_dtype(student, teacher)
    if channel_weight is not None:
        if channel_weight.dim() != 2 or channel_weight.shape[1] != student.shape[1]:
            raise ValueError(
                f"channel_weight has the shape {tuple(channel_weight.shape)}, expected (N, C) = "
                f"{tuple(student.shape[:2])}"
            )
        channel_weight = channel_weight.to(dtype).expand(student.shape[:2])
    squared = distance == "l2"
    with torch.autocast(device_type=student.device.type, enabled=False):
        sizes = band_sizes(student.shape[-2:], wavelet, dwt_levels, dwt_mode)
        band_weights = _band_weights(
            weights, sizes, student, dtype, selected_groups(dwt_levels, granularity, bands)
        )
        if haar_applies(student.shape, wavelet, dwt_mode, dwt_levels) and can_fuse(
            student, dwt_levels, teacher, channel_weight, *band_weights
        ):
            return haar_distance(student, teacher, band_weights, channel_weight, squared)
        difference = student.to(dtype) - teacher.to(dtype)
        flat = dwt2(difference, wavelet, dwt_levels, dwt_mode).flat()
        return weighted_sum(flat, band_weights, channel_weight, squared)


def _band_weights(
    weights: Optional[Sequence[Tensor]],
    sizes: Sequence[Tuple[int, int]],
    student: Tensor,
    dtype: torch.dtype,
    groups: Sequence[Tuple[int, BandGroup]],
) -> List[Tensor]:
    """Per band (N or 1, h, w): the group's weight over the number of its coefficients, or 0."""
    out = [student.new_zeros((1, *size), dtype=dtype) for size in sizes]
    count, channels = student.shape[:2]
    for position, (name, members) in groups:
        height, width = sizes[members[0]]
        coefficients = max(1, count * channels * height * width * len(members))
        if weights is None:
            weight = student.new_full((1, height, width), 1 / coefficients, dtype=dtype)
        else:
            weight = weights[position].to(dtype) / coefficients
            if weight.shape[0] not in (1, count) or weight.shape[1:] != (height, width):
                raise ValueError(
                    f"the mask of {name} has (N, h, w) = {tuple(weight.shape)}, the band of a map "
                    f"{tuple(student.shape)} {(count, height, width)}"
                )
        for member in members:
            out[member] = weight
    return out


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
        self.prompt_info: Dict[str, object] = {}
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
            masks: Sequence[Optional[Sequence[Tensor]]] = [None] * len(teacher)
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


CARD = Card(
    name="freekd",
    title="FreeKD",
    summary="The bands of a wavelet transform, weighted by the masks of learned prompts.",
    module=FreeKDLoss,
    paper="FreeKD: Knowledge Distillation via Semantic Frequency Prompt, CVPR 2024, "
    "https://arxiv.org/abs/2311.12079",
    tasks=("det", "seg"),
    taps=dict(det="neck", seg="decode_head.conv_seg"),
    needs=("prompts",),
)
