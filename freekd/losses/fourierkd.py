"""FourierKD's feature loss: amplitudes fused under noise, compared on the Riemann sphere.

For each pyramid level, student S and teacher T of C channels:

    P = conv(S),    alpha = sigmoid(sigma),
    A = alpha conv_s(|F(P)|) + (1 - alpha) conv_t(|F(T)|),          the amplitudes fused (ATFM)
    Z_S = A U e^{i arg F(P)},    Z_T = F(T),    U uniform in [0, 1),   the student's phase kept
    L = 1/2 sum_{k in X,Y,Z} mean w (B(k_S) - B(k_T))^2,    w = 1 - cos(S, T) for each channel,

with F the orthonormal transform, X, Y, Z a spectrum's coordinates on the Riemann sphere, and B the
standardisation of a channel. :mod:`freekd.frequency.sphere_distance` computes it, in one pass.
"""

from typing import Any, Iterator, Mapping, Optional, Sequence, Tuple

import torch
from torch import Tensor, nn

from freekd.checks import check_choice, check_flag
from freekd.frequency.sphere_distance import sphere_distance
from freekd.widen import widened

from .align import align_size
from .card import Bundled, Card, Case, Outcome, Published
from .levels import Channels, LevelsLoss

SHIFTS = ("all", "spatial")


class FourierLevel(nn.Module):
    """One pyramid level: its parameters, and the loss without its weight.

    Args:
        channels: C, of the teacher's map and of the student's after its connector.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.pre_conv = nn.Conv2d(channels, channels, 1)
        self.amp_conv_student = nn.Conv2d(channels, channels, 1)
        self.amp_conv_teacher = nn.Conv2d(channels, channels, 1)
        self.fusion_logit = nn.Parameter(torch.zeros(channels))  # sigma

    def mix(self, ahead: int) -> Tuple[Tensor, Tensor]:
        """The fusion as one product: A = weight [|F(P)|; |F(T)|] + bias, (C, 2C) and (C,).

        Args:
            ahead: by how many channels the spectra are rolled when the convolutions see them.
        """
        alpha = self.fusion_logit.sigmoid()
        weights, biases = [], []
        for share, conv in ((alpha, self.amp_conv_student), (1 - alpha, self.amp_conv_teacher)):
            weight, bias = _matrix(conv)
            weights.append((share[:, None] * weight).roll((-ahead, -ahead), (0, 1)))
            biases.append((share * bias).roll(-ahead))
        return torch.cat(weights, 1), biases[0] + biases[1]

    def forward(self, student: Tensor, teacher: Tensor, draw: Any, shift: str) -> Tensor:
        """L above, a scalar.

        Args:
            student, teacher: (N, C, H, W).
            draw: gives U, (N, C, H, W).
            shift: see :class:`FourierKDLoss`.
        """
        count, channels = teacher.shape[:2]
        roll = (count // 2, channels // 2) if shift == "all" else (0, 0)
        return sphere_distance(
            student,
            teacher,
            lambda: draw(teacher.shape, teacher.device),
            _matrix(self.pre_conv),
            self.mix(roll[1]),
            roll,
        )


def _matrix(conv: nn.Conv2d) -> Tuple[Tensor, Tensor]:
    """Weight (C, C) and bias (C,) of a 1x1 convolution."""
    assert conv.bias is not None
    return conv.weight.flatten(1), conv.bias


class FourierKDLoss(LevelsLoss):
    """Sum over pyramid levels of the Fourier feature loss, each level with its own parameters.

    The noise U comes from torch's generator of the maps' device, in training and evaluation. The
    parameters are trained with the student; nothing flows into the teacher. With several processes
    each has noise of its own, and B standardises over a process's own images.

    Args:
        student_channels, teacher_channels: channels of the tapped maps: one number for all
            pyramid levels, or one per level, finest first.
        num_levels: number of pyramid levels; 1 for a module that gives a single tensor.
        align: ``auto``, the connector of the paper's segmentation, a 1x1 convolution and ReLU,
            where channels differ; a level of the same channels beside one of others has the
            convolution, which begins as the identity, and no ReLU. ``conv1x1``, a 1x1 convolution
            alone, always; None, never.
        resize_student: where sizes differ, the student's maps are resized to the teacher's; False:
            the teacher's to the student's.
        shift: ``all``, the reference's: frequency 0 is brought to the middle by a cyclic shift of
            all four axes, so that the weight w of one image and channel goes with the error of
            another; ``spatial``: of the last two, so that each goes with its own.
        legacy_last_level: only the last level is taught, as the release does with a tuple of maps;
            there are parameters for that level alone.
        loss_weight: lambda. Published: 7 for each level of a detector's neck, 41 for the last
            stage of a segmentor's backbone; 1 is the release's default.

    Raises:
        ValueError: a contradictory option, or a value of another kind; names the config key.
    """

    @staticmethod
    def check_options(options: Mapping[str, Any], key: str) -> None:
        """What a config says, by its config keys; raises ValueError."""
        LevelsLoss.check_options(options, key)
        if "shift" in options:
            check_choice(f"{key}.shift", options["shift"], SHIFTS)
        for name in ("resize_student", "legacy_last_level"):
            if name in options:
                check_flag(f"{key}.{name}", options[name])

    def __init__(
        self,
        student_channels: Channels,
        teacher_channels: Channels,
        num_levels: int,
        align: Optional[str] = "auto",
        resize_student: bool = True,
        shift: str = "all",
        legacy_last_level: bool = False,
        loss_weight: float = 1.0,
    ) -> None:
        check_choice("shift", shift, SHIFTS)
        check_flag("resize_student", resize_student)
        check_flag("legacy_last_level", legacy_last_level)
        taught = slice(-1, None) if legacy_last_level else slice(None)
        super().__init__(student_channels, teacher_channels, num_levels, align, loss_weight, taught)
        channels = list(zip(self.student_channels, self.teacher_channels))[taught]
        self.clips = [align == "auto" and own != other for own, other in channels]  # by ReLU
        self.levels = nn.ModuleList(FourierLevel(other) for _, other in channels)
        self.resize_student = resize_student
        self.shift = shift
        self.legacy_last_level = legacy_last_level

    def draw_noise(self, shape: Sequence[int], device: torch.device) -> Tensor:
        """U of one level, uniform in [0, 1), (N, C, H, W) with frequency 0 in the middle.

        From torch's default generator of the device, which the training run seeds anew in each
        iteration, so that a resumed run draws the same.
        """
        return torch.rand(tuple(shape), device=device)

    def aligned(
        self, student: Sequence[Tensor], teacher: Sequence[Tensor]
    ) -> Iterator[Tuple[Tensor, Tensor]]:
        """Per level that is taught both maps, of the teacher's channels and of one size.

        One level after the other, so that what is made for it is not there before.

        Args:
            student, teacher: as :meth:`check_feats` gives them.
        """
        first = len(teacher) - len(self.levels)
        for level, (s, t) in enumerate(zip(student[first:], teacher[first:])):
            s, t = self._as_learned(s), self._as_learned(t.detach())
            if self.align is not None:
                s = self.align[level](widened(s))
                s = s.relu() if self.clips[level] else s
            if s.shape[-2:] != t.shape[-2:]:
                s, t = widened(s), widened(t)
            if self.resize_student:
                s = align_size(s, t.shape[-2:])
            yield s, align_size(t, s.shape[-2:])

    def level_loss(self, level: int, student: Tensor, teacher: Tensor) -> Tensor:
        """L of one level, before ``loss_weight``."""
        value: Tensor = self.levels[level](student, teacher, self.draw_noise, self.shift)
        return value

    def extra_repr(self) -> str:
        legacy = ", legacy_last_level" if self.legacy_last_level else ""
        return f"shift={self.shift!r}, loss_weight={self.loss_weight:g}{legacy}"


def golden(case: Case) -> Outcome:
    """One level, or the levels student_0, student_1, ... of which the release takes the last."""
    several = "student_0" in case.inputs
    names = [f"_{level}" for level in range(len(case.inputs) // 2)] if several else [""]
    sides = [[case.inputs[who + name] for name in names] for who in ("student", "teacher")]
    noise = case.draws["amplitude_noise"]
    outputs, parameters = {}, {}
    for output, shift in (("loss_spatial_shift", "spatial"), ("loss", "all")):
        loss = FourierKDLoss(
            case.options["in_channels"],
            case.options["in_channels"],
            len(names),
            resize_student=case.options["resize_stu"],
            shift=shift,
            legacy_last_level=several,
            loss_weight=case.options["loss_weight"],
        ).to(noise.dtype)
        loss.draw_noise = lambda shape, device: noise  # type: ignore[method-assign]
        learned = dict(loss.levels[0].named_parameters())
        parameters = {name.replace(".", "_"): value for name, value in learned.items()}
        for name, value in parameters.items():
            value.data.copy_(case.parameters[name])
        outputs[output] = loss(*sides)
    return Outcome(outputs, parameters)


def _hint(loss: FourierKDLoss) -> str:
    """What weight is published for what is tapped."""
    return (
        "published: loss_weight=7 at a detector's neck (five levels), 41 at the last stage of a "
        "segmentor's backbone"
    )


PAPER = "paper's README"
CARD = Card(
    name="fourierkd",
    title="FourierKD",
    summary="Spectra on the Riemann sphere, the student's amplitude fused with the teacher's.",
    module=FourierKDLoss,
    paper="Knowledge Distillation in Fourier Frequency Domain for Dense Prediction, IEEE SPL 2024",
    tasks=("det", "seg"),
    taps=dict(det="neck", seg="backbone.layer4"),
    hint=_hint,
    bundled=dict(
        det=dict(
            fourierkd=Bundled(
                "configs/fourierkd/retinanet_r34_r18_digits.py",
                "FourierKD, feature loss",
                "FourierKD",
            ),
            fourierkd_both=Bundled(
                "configs/fourierkd/retinanet_r34_r18_digits_iou_aware.py",
                "FourierKD, both losses",
                "FourierKD, both",
            ),
        ),
        seg=dict(
            fourierkd=Bundled(
                "configs/fourierkd/fpn_r34_r18_digits_seg.py", "FourierKD", "FourierKD"
            )
        ),
    ),
    published=(
        Published("RepPoints X101-DCN -> R50", "COCO AP", 38.6, 42.8, PAPER),
        Published("Faster R-CNN R101 -> R50", "COCO AP", 38.4, 40.9, PAPER),
        Published("RepPoints R50 -> RetinaNet R18", "COCO AP", 31.7, 35.2, PAPER),
        Published("RepPoints R50 -> RetinaNet MobileNetV2", "COCO AP", 28.5, 33.3, PAPER),
        Published("PSPNet R101 -> R18", "Cityscapes mIoU", 69.85, 74.86, PAPER),
        Published("PSPNet R101 -> DeepLabV3 R18", "Cityscapes mIoU", 73.20, 77.17, PAPER),
    ),
    golden=golden,
)
