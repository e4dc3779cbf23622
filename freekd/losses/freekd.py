"""FreeKD's distillation loss (Eq. 13; without prompts Eq. 3): function, module.

Two identities keep it cheap: the transform is linear, so the bands of a difference are the
difference of bands; and a mask is positive, so T masked copies of a band reduce to one weight, the
mean over T of the mask (of its square for the squared distance).
"""

from typing import Any, Dict, List, Mapping, Optional, Sequence, Tuple

import torch
from torch import Tensor

from freekd.checks import check_choice, check_integer
from freekd.frequency import HAAR, build_transform
from freekd.frequency.distance import weighted_sum
from freekd.frequency.groups import BAND_CHOICES, GRANULARITIES, BandGroup, selected_groups
from freekd.frequency.haar_distance import can_fuse, haar_distance
from freekd.frequency.transform import TransformLike, refuse_old, refuses_old
from freekd.gates import GATES
from freekd.gates.gate import check_weight_shape
from freekd.held import HoldsFrozen
from freekd.prompts.file import load_prompts
from freekd.prompts.masks import DISTANCES, gate_weights, mask_weight
from freekd.prompts.prompts import FrequencyPrompts
from freekd.prompts.spec import MOST_PROMPTS, GateLike
from freekd.widen import wide_dtype

from .align import NORMALIZATIONS, Feats, standardize
from .card import Bundled, Card, Published
from .levels import Channels, LevelsLoss
from .parts import channels_at_a_time, parts, sum_over_parts


def freekd_loss(
    student: Tensor,
    teacher: Tensor,
    masks: Optional[Sequence[Tensor]] = None,
    gate_weight: Optional[Tensor] = None,
    transform: TransformLike = HAAR,
    granularity: str = "band",
    bands: str = "all",
    distance: str = "l1",
) -> Tensor:
    """The distillation loss of one pyramid level, Eq. 13; without masks and weights, Eq. 3.

    sum over groups k of mean( omega (1/T) sum_i |m_{k,i} a_k - m_{k,i} b_k| ), the mean over all
    coefficients of a group (N, C, h, w, and the three orientations of a ``level``).

    Args:
        student, teacher: (N, C, H, W), aligned; no gradient flows into ``teacher``.
        masks: for each group of the transform (N, T, h, w), all groups whatever ``bands``.
        gate_weight: omega, what broadcasts to (N, C, H, W): (N, C, 1, 1), or with places
            (N, 1, H, W) or (N, C, H, W), which are averaged for each band.
        transform: xi, or its config form, see :func:`freekd.frequency.build_transform`.
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
    transform = build_transform(transform)
    groups = transform.groups(granularity)
    if masks is not None and len(masks) != len(groups):
        raise ValueError(
            f"expected masks for {len(groups)} groups ({transform}, granularity={granularity!r}), "
            f"got {len(masks)}"
        )
    weights = None if masks is None else [mask_weight(mask, distance) for mask in masks]
    return weighted_distance(
        student, teacher, weights, gate_weight, transform, granularity, bands, distance
    )


def weighted_distance(
    student: Tensor,
    teacher: Tensor,
    weights: Optional[Sequence[Tensor]] = None,
    gate_weight: Optional[Tensor] = None,
    transform: TransformLike = HAAR,
    granularity: str = "band",
    bands: str = "all",
    distance: str = "l1",
    normalize: Optional[str] = None,
) -> Tensor:
    """:func:`freekd_loss` with each group's T masks already reduced to one weight (N or 1, h, w).

    ``normalize='channel'`` compares the maps standardised, see :class:`FreeKDLoss`.

    With Haar the value and its gradient come from one pass over the maps, see
    :mod:`freekd.frequency.haar_distance`; other transforms, odd sizes with other modes than
    ``zero``, a gate's weight with places for each channel, weights that want a gradient, and second
    derivatives take the general way by themselves. On a CPU that, and standardising, goes a few
    channels at a time, see :mod:`.parts`, unless weights want a gradient.

    Raises:
        ValueError: shapes differ, an unknown option, or weights of another size than the bands.
    """
    if student.shape != teacher.shape or student.dim() != 4:
        raise ValueError(
            f"student {tuple(student.shape)} and teacher {tuple(teacher.shape)} must be aligned, "
            "both (N, C, H, W)"
        )
    check_choice("distance", distance, DISTANCES)
    check_choice("normalize", normalize, NORMALIZATIONS)
    transform = build_transform(transform)
    teacher = teacher.detach()
    dtype = wide_dtype(student, teacher)
    squared = distance == "l2"
    with torch.autocast(device_type=student.device.type, enabled=False):
        sizes = transform.sizes(student.shape[-2:])
        groups = selected_groups(transform.groups(granularity), bands)
        band_weights = _band_weights(weights, sizes, student, dtype, groups)
        if gate_weight is not None:
            check_weight_shape(gate_weight, student.shape)
            gate_weight = gate_weight.to(dtype)
            if gate_weight.shape[1] == 1 and gate_weight.shape[2:] != (1, 1):  # as the masks'
                gates = gate_weights(gate_weight, transform)
                band_weights = [w * gate[:, 0] for w, gate in zip(band_weights, gates)]
                gate_weight = None
            else:
                gate_weight = gate_weight.expand(-1, student.shape[1], -1, -1)
        levels = transform.haar_levels(student.shape)
        placed = gate_weight is not None and gate_weight.shape[2:] != (1, 1)
        constants = [*band_weights, *([] if gate_weight is None else [gate_weight])]
        fused = levels > 0 and not placed and can_fuse(student, levels, teacher, *constants)

        def of_channels(part: slice, piece: Tensor) -> Tensor:
            sides = [piece, teacher[:, part]]
            if normalize == "channel":
                sides = [standardize(side) for side in sides]
            gate = None if gate_weight is None else gate_weight[:, part]
            if fused:
                omega = None if gate is None else gate[..., 0, 0].expand(len(piece), -1)
                return haar_distance(sides[0], sides[1], band_weights, omega, squared)
            difference = transform.difference(sides[0].to(dtype), sides[1].to(dtype))
            gates = None if gate is None else gate_weights(gate, transform)
            return weighted_sum(difference, band_weights, gates, squared)

        learned = torch.is_grad_enabled() and any(weight.requires_grad for weight in constants)
        if learned or (fused and normalize is None):  # the latter goes in parts by itself
            return of_channels(slice(None), student)
        step = channels_at_a_time(student, 3 if fused else 6, least=2**15)
        return sum_over_parts(of_channels, student, 1, parts(student.shape[1], step))


def _band_weights(
    weights: Optional[Sequence[Tensor]],
    sizes: Sequence[Tuple[int, int]],
    student: Tensor,
    dtype: torch.dtype,
    groups: Sequence[Tuple[int, BandGroup]],
) -> List[Tensor]:
    """Per band (N or 1, h, w): the group's weight over the number of its coefficients, or 0."""
    found: Dict[int, Tensor] = {}
    scaled: List[Tuple[Tensor, int, Tuple[int, ...]]] = []  # a group's weight, over what, its bands
    count, channels = student.shape[:2]
    for position, (name, members, _) in groups:
        height, width = sizes[members[0]]
        coefficients = max(1, count * channels * height * width * len(members))
        if weights is None:
            weight = student.new_full((1, height, width), 1 / coefficients, dtype=dtype)
            found.update((member, weight) for member in members)
            continue
        weight = weights[position].to(dtype)
        if weight.shape[0] not in (1, count) or weight.shape[1:] != (height, width):
            raise ValueError(
                f"the mask of {name} has (N, h, w) = {tuple(weight.shape)}, the band of a map "
                f"{tuple(student.shape)} {(count, height, width)}"
            )
        scaled.append((weight, coefficients, members))
    if scaled:  # at once: on a GPU a division for each costs as much as all
        means = torch._foreach_div([x for x, _, _ in scaled], [float(n) for _, n, _ in scaled])
        for mean, (_, _, members) in zip(means, scaled):
            found.update((member, mean) for member in members)
    return [
        found[band] if band in found else student.new_zeros((1, *size), dtype=dtype)
        for band, size in enumerate(sizes)
    ]


CHOICES: Dict[str, Sequence[object]] = dict(
    granularity=(None, *GRANULARITIES),
    bands=BAND_CHOICES,
    normalize=NORMALIZATIONS,
    distance=DISTANCES,
)


def check_prompts(key: str, value: object) -> None:
    """Raise ValueError, naming the key, unless ``value`` is a path or None."""
    if value is not None and (not isinstance(value, str) or not value):
        raise ValueError(f"{key} must be the path of a file, or None, got {value!r}")


class FreeKDLoss(HoldsFrozen, LevelsLoss):
    """sum over levels and bands k of mean( omega^r (1/T) sum_i sigma(M_k,i) |a_k - b_k| ), Eq. 13.

    Works in MMRazor's stock ``SingleTeacherDistiller`` and in :class:`FreeKDDistiller`. The prompts
    and the gate come from a file that stage 1 wrote, and stay as they are: no gradient, ever. The
    loss owns phi, the 1x1 convolution from student to teacher channels and the bilinear resize.

    Args:
        student_channels, teacher_channels: channels of the tapped maps: one number for all
            pyramid levels, or one per level, finest first.
        num_levels: number of pyramid levels; 1 for a module that gives a single tensor.
        prompts: path of the prompt file, or None: plain frequency distillation, Eq. 3, without
            masks and gate.
        num_prompts, transform, granularity: as in :class:`freekd.prompts.spec.PromptSpec`. None:
            as the prompt file was made; given, they must be what it was made for. Without prompts
            None is Haar with J = 3 and zero extension, and ``band``; ``num_prompts`` says nothing.
        gate: ``auto`` uses the prompt file's gate, if it has one; None leaves it out; the config
            form of a gate (``position``) is what the file must have.
        bands: which bands count: ``all``, ``high`` (without LL, the release), ``low`` (LL alone).
        align: ``auto``, a 1x1 convolution where channels differ; ``conv1x1``, always; None, never.
        normalize: None (the paper), or ``channel``: standardise each channel of student and
            teacher over (N, H, W) first, so that the loss does not depend on their scale. The
            statistics are those of a process's own batch.
        distance: ``l1`` (the paper), or ``l2``: the squared difference.
        loss_weight: mu.

    Raises:
        ValueError: an unknown or contradictory option, prompts made for something else, or a key of
            version 0.1; names the config key.
        FileNotFoundError: no such prompt file; names the command that makes one.
    """

    @staticmethod
    def check_options(options: Mapping[str, Any], key: str) -> None:
        """What a config says, by its config keys; and version 0.1's keys.

        Raises:
            ValueError: with the key, and the new spelling of an old one.
        """
        refuse_old(options, f"{key}.")
        LevelsLoss.check_options(options, key)
        check_prompts(f"{key}.prompts", options.get("prompts"))
        if options.get("num_prompts") is not None:
            check_integer(f"{key}.num_prompts", options["num_prompts"], MOST_PROMPTS)
        for name, choices in CHOICES.items():
            if name in options:
                check_choice(f"{key}.{name}", options[name], choices)
        if options.get("transform") is not None:
            build_transform(options["transform"], f"{key}.transform")
        if options.get("gate") not in (None, "auto"):
            GATES.config(options["gate"], f"{key}.gate")
        for name in ("gate", "num_prompts"):
            if options.get("prompts") is None and options.get(name) not in (None, "auto"):
                raise ValueError(
                    f"{key}.{name}={options[name]!r} is of a prompt file, and {key}.prompts names "
                    f"none. Give it, or remove {name}"
                )

    @refuses_old
    def __init__(
        self,
        student_channels: Channels,
        teacher_channels: Channels,
        num_levels: int,
        prompts: Optional[str] = None,
        num_prompts: Optional[int] = None,
        transform: Optional[TransformLike] = None,
        granularity: Optional[str] = None,
        gate: GateLike = "auto",
        bands: str = "all",
        align: Optional[str] = "auto",
        normalize: Optional[str] = None,
        distance: str = "l1",
        loss_weight: float = 1.0,
    ) -> None:
        super().__init__(student_channels, teacher_channels, num_levels, align, loss_weight)
        check_prompts("prompts", prompts)
        check_choice("bands", bands, BAND_CHOICES)
        check_choice("normalize", normalize, NORMALIZATIONS)
        check_choice("distance", distance, DISTANCES)
        self.bands = bands
        self.normalize = normalize
        self.distance = distance
        asked = _asked(num_prompts, transform, granularity, gate)
        self.transform = asked.get("transform", HAAR)
        self.granularity = asked.get("granularity", "band")
        self.prompts: Optional[FrequencyPrompts] = None
        self.prompt_info: Dict[str, object] = {}
        if prompts is not None:
            asked = {"channels": self.teacher_channels, **asked}
            self.prompts, self.prompt_info = load_prompts(prompts, asked)
            self.transform = self.prompts.spec.transform
            self.granularity = self.prompts.spec.granularity
            self.hold("prompts")  # frozen, and of a file: not in checkpoints, nor seen by hooks
        selected_groups(self.transform.groups(self.granularity), bands)

    def note(self) -> str:
        """What a reader of the log should know before the first step; empty: nothing."""
        if self.prompts is not None:
            return ""
        return "no prompts are given: plain frequency distillation (Eq. 3), without masks and gate"

    @torch.no_grad()
    def relation_weights(
        self, student: Sequence[Tensor], teacher: Sequence[Tensor]
    ) -> List[Optional[Tensor]]:
        """omega^r = omega^t omega^s per level (Eq. 12), without gradient; None: no gate.

        As the gate gives them: (N, C, 1, 1), (N, 1, H, W) or (N, C, H, W).
        """
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
        maps = self.check_feats(student_feats, teacher_feats)
        with torch.autocast(device_type=maps[1][0].device.type, enabled=False):
            student, teacher = zip(*self.aligned(*maps))
            weights = self.relation_weights(student, teacher)
            masks: Sequence[Optional[Sequence[Tensor]]] = [None] * len(teacher)
            if self.prompts is not None:
                masks = self.prompts.weights(teacher, self.distance)
            total = torch.zeros((), device=student[0].device)
            for s, t, mask, weight in zip(student, teacher, masks, weights):
                total = total + weighted_distance(
                    s, t, mask, weight, self.transform, self.granularity, self.bands, self.distance,
                    self.normalize,
                )  # fmt: skip
        return self.loss_weight * total

    def extra_repr(self) -> str:
        """One line for ``print(model)``."""
        made = self.prompts.spec if self.prompts is not None else "no prompts"
        return (
            f"{self.transform}, {self.granularity!r}, {made}, bands={self.bands!r}, "
            f"normalize={self.normalize!r}, distance={self.distance!r}, "
            f"loss_weight={self.loss_weight}"
        )


def _asked(
    num_prompts: Optional[int],
    transform: Optional[TransformLike],
    granularity: Optional[str],
    gate: GateLike,
) -> Dict[str, Any]:
    """What a config asks of the prompts, by the fields of ``PromptSpec``; all values checked."""
    asked: Dict[str, Any] = {}
    if num_prompts is not None:
        check_integer("num_prompts", num_prompts, MOST_PROMPTS)
        asked["num_prompts"] = num_prompts
    if transform is not None:
        asked["transform"] = build_transform(transform)
    if granularity is not None:
        check_choice("granularity", granularity, GRANULARITIES)
        asked["granularity"] = granularity
    if gate is None or gate != "auto":
        asked["gate"] = None if gate is None else GATES.config(gate)
    return asked


def _hint(loss: FreeKDLoss) -> str:
    """What size of the term is known to work, with these features and this distance."""
    return {
        (None, "l1"): "raw features, L1: begin with a ratio of 0.1 to 1 (--target 0.3); none "
        "helped on the bundled task, where standardised channels did",
        ("channel", "l2"): "standardised channels, squared difference: best on the bundled task "
        "was a ratio of about 20 at this point, 6 to 10 later (--target 20)",
    }.get((loss.normalize, loss.distance), "")


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
    hint=_hint,
    bundled=dict(
        det=dict(
            freekd=Bundled(
                "configs/freekd/retinanet_r34_r18_digits.py", "FreeKD, standardised, l2", "FreeKD"
            ),
            inherit=Bundled(
                "configs/freekd/retinanet_r34_r18_digits_inherit.py",
                "FreeKD, neck and head inherited",
                "FreeKD, inherited",
            ),
            no_prompts=Bundled(
                "configs/freekd/retinanet_r34_r18_digits_no_prompts.py",
                "the same without prompts (Eq. 3)",
                "without prompts",
            ),
            paper=Bundled(
                "configs/freekd/retinanet_r34_r18_digits_paper.py",
                "FreeKD, raw, l1 (paper's loss)",
                "FreeKD, raw l1",
            ),
        ),
        seg=dict(freekd=Bundled("configs/freekd/fpn_r34_r18_digits_seg.py", "FreeKD", "FreeKD")),
    ),
    published=(
        Published("RetinaNet R101 -> R50", "COCO AP", 37.4, 39.9, "paper"),
        Published("RetinaNet X101-64x4d -> R50", "COCO AP", 37.4, 41.0, "paper"),
        Published("Faster R-CNN R101 -> R50", "COCO AP", 38.4, 40.8, "paper"),
        Published("Cascade Mask R-CNN X101 -> Faster R-CNN R50", "COCO AP", 38.4, 42.4, "paper"),
        Published("RepPoints X101-DCN -> R50", "COCO AP", 38.6, 42.4, "paper"),
        Published("FCOS R101 -> R50", "COCO AP", 38.5, 42.9, "paper"),
        Published("Deformable DETR R101 -> R18", "COCO AP", 36.4, 38.9, "paper, 12 epochs"),
        Published("Deformable DETR R101 -> MobileNetV2", "COCO AP", 33.5, 36.2, "paper, 12 epochs"),
        Published("PSPNet R101 -> R18", "Cityscapes mIoU", 69.85, 74.40, "paper"),
        Published("PSPNet R101 -> DeepLabV3 R18", "Cityscapes mIoU", 73.20, 76.45, "paper"),
    ),
)
