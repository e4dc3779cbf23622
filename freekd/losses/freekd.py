"""FreeKD's distillation loss (Eq. 13; without prompts Eq. 3): function, module.

Two identities keep it cheap: the transform is linear, so the bands of a difference are the
difference of bands; and a mask is positive, so T masked copies of a band reduce to one weight, the
mean over T of the mask (of its square for the squared distance).
"""

from typing import Any, Dict, List, Mapping, Optional, Sequence

import torch
from torch import Tensor

from freekd.checks import check_choice, check_flag, check_integer, check_share
from freekd.frequency import HAAR, build_transform
from freekd.frequency.groups import BAND_CHOICES, GRANULARITIES, selected_groups
from freekd.frequency.shift import Offset, check_grid, moved, random_offset
from freekd.frequency.transform import TransformLike, refuse_old, refuses_old
from freekd.gates import GATES
from freekd.held import HoldsFrozen
from freekd.prompts.file import load_prompts
from freekd.prompts.masks import DISTANCES, mask_weight
from freekd.prompts.prompts import FrequencyPrompts
from freekd.prompts.spec import MOST_PROMPTS, GateLike
from freekd.prompts.where import (
    MASK_NORMS,
    box_weights,
    energy_weights,
    has_places,
    masked_weights,
)

from .align import NORMALIZATIONS, Feats, as_teacher_scaled
from .band_distance import AVERAGES, weighted_distance
from .card import Bundled, Card, Published
from .levels import Channels, LevelsLoss
from .places import batch_boxes, box_map, check_images
from .step import Step

WHERE = ("auto", "prompts", "energy", "boxes", None)
BOX_SHARE = 0.5
_BOX_SHARE = "the share of a band's weight that coefficients in boxes get"
Weights = Optional[Sequence[Tensor]]  # of each group of a level's bands; None: all count alike


def freekd_loss(
    student: Tensor,
    teacher: Tensor,
    masks: Optional[Sequence[Tensor]] = None,
    gate_weight: Optional[Tensor] = None,
    transform: TransformLike = HAAR,
    granularity: str = "band",
    bands: str = "all",
    distance: str = "l1",
    average: str = "band",
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
        average: ``band`` or ``map``, see :class:`FreeKDLoss`.

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
        student, teacher, weights, gate_weight, transform, granularity, bands, distance,
        average=average,
    )  # fmt: skip


CHOICES: Dict[str, Sequence[object]] = dict(
    granularity=(None, *GRANULARITIES),
    bands=BAND_CHOICES,
    normalize=NORMALIZATIONS,
    distance=DISTANCES,
    average=AVERAGES,
    where=WHERE,
    mask_norm=MASK_NORMS,
)


def check_prompts(key: str, value: object) -> None:
    """Raise ValueError, naming the key, unless ``value`` is a path or None."""
    if value is not None and (not isinstance(value, str) or not value):
        raise ValueError(f"{key} must be the path of a file, or None, got {value!r}")


def _check_where(options: Mapping[str, Any], key: str) -> None:
    """Raise ValueError where ``where`` and what is said of masks do not go together."""
    prompts, where = options.get("prompts"), options.get("where", "auto")
    key = f"{key}." if key else ""
    if where == "prompts" and prompts is None:
        raise ValueError(
            f"{key}where='prompts' needs {key}prompts, the file that stage 1 wrote. Give it, or "
            f"take {key}where='energy', which needs none"
        )
    if where != "boxes" and options.get("box_share", BOX_SHARE) != BOX_SHARE:
        raise ValueError(
            f"{key}box_share={options['box_share']!r} is of boxes, and here {key}where={where!r}. "
            f"Set {key}where='boxes', or remove box_share"
        )
    for name in ("mask_norm", "student_masks_from"):
        if options.get(name) is not None and (prompts is None or where not in ("auto", "prompts")):
            raise ValueError(
                f"{key}{name}={options[name]!r} is of prompts' masks, and here "
                f"{key}prompts={prompts!r}, {key}where={where!r}. Give prompts, or remove {name}"
            )


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
        average: ``band``, each band's mean, the bands added: the few coefficients of a coarse band
            count as much as the many of a fine one. ``map``: all coefficients are added and divided
            by the number of the map's values, so that each counts alike; with ``l2``, all bands and
            nothing that weights places this is the mean squared difference of the maps, for an
            orthonormal transform (Parseval).
        where: what says how much a coefficient's place counts: ``prompts`` (the paper); ``energy``,
            the teacher's own coefficients, nothing learned; ``boxes``, the annotations, an oracle
            to measure others by; None, all places alike, whatever ``prompts`` says. ``auto``:
            prompts where there are any, else None. The equations are in
            :mod:`freekd.prompts.where`.
        box_share: with ``where='boxes'``, q there: what coefficients in boxes get of a band's
            weight.
        mask_norm: None (the paper); ``mean``: the masks' weight is divided by its mean over each
            band, so that the loss has the size of one without masks; ``sum``: each mask is, so that
            a small region counts as much as a large one.
        student_masks_from: None (the paper), or a number of training steps after which the
            teacher's masks are multiplied by those that the same prompts make of the student's
            aligned maps; without gradient.
        shift: False (the paper), or True: at each step the maps of each level are moved over the
            transform's grid by a random offset, so that its borders are not always at the same
            places, see :mod:`freekd.frequency.shift`. For transforms with blocks: wavelets, and a
            DCT of blocks.
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
            transform = build_transform(options["transform"], f"{key}.transform")
            if options.get("shift"):
                check_grid(transform, f"{key}.shift")
        if "shift" in options:
            check_flag(f"{key}.shift", options["shift"])
        if "box_share" in options:
            check_share(f"{key}.box_share", options["box_share"], _BOX_SHARE)
        if options.get("student_masks_from") is not None:
            check_integer(f"{key}.student_masks_from", options["student_masks_from"], 2**31)
        _check_where(options, key)
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
        average: str = "band",
        where: Optional[str] = "auto",
        box_share: float = BOX_SHARE,
        mask_norm: Optional[str] = None,
        student_masks_from: Optional[int] = None,
        shift: bool = False,
        loss_weight: float = 1.0,
    ) -> None:
        super().__init__(student_channels, teacher_channels, num_levels, align, loss_weight)
        check_prompts("prompts", prompts)
        check_choice("bands", bands, BAND_CHOICES)
        check_choice("normalize", normalize, NORMALIZATIONS)
        check_choice("distance", distance, DISTANCES)
        check_choice("average", average, AVERAGES)
        check_choice("where", where, WHERE)
        check_choice("mask_norm", mask_norm, MASK_NORMS)
        check_share("box_share", box_share, _BOX_SHARE)
        check_flag("shift", shift)
        given = dict(prompts=prompts, where=where, mask_norm=mask_norm, box_share=box_share)
        _check_where({**given, "student_masks_from": student_masks_from}, "")
        self.where = where
        if where == "auto":
            self.where = None if prompts is None else "prompts"
        self.box_share = float(box_share)
        self.mask_norm = mask_norm
        self.student_masks_from = student_masks_from
        if student_masks_from is not None:
            check_integer("student_masks_from", student_masks_from, 2**31)
            self.register_buffer("steps", torch.zeros((), dtype=torch.long))
        self.bands = bands
        self.normalize = normalize
        self.distance = distance
        self.average = average
        self.shift = shift
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
        if shift:
            check_grid(self.transform, "shift")
        if where == "boxes" and not has_places(self.transform):
            raise ValueError(
                f"where='boxes' needs coefficients that have a place in the map, and those of "
                f"{self.transform} have none. Take a wavelet, or a DCT of blocks (block=8)"
            )

    def check_models(self, step: Step, key: str) -> None:
        """``where='boxes'`` is for detection; raises ValueError, with the key."""
        if self.where == "boxes" and getattr(step.task, "name", "det") != "det":
            raise ValueError(
                f"{key}.where='boxes' is for detection, and this is a {step.task.noun} pair. Take "
                f"{key}.where='energy', or prompts"
            )

    def note(self) -> str:
        """What a reader of the log should know before the first step; empty: nothing."""
        if self.where == "boxes":
            return "where='boxes' weights by the annotations: an oracle to measure prompts by"
        if self.prompts is not None or self.where is not None:
            return ""
        return "no prompts are given: plain frequency distillation (Eq. 3), without masks and gate"

    @torch.no_grad()
    def relation_weights(
        self, student: Sequence[Tensor], teacher: Sequence[Tensor]
    ) -> List[Optional[Tensor]]:
        """omega^r = omega^t omega^s per level (Eq. 12), without gradient; None: no gate.

        As the gate gives them: (N, C, 1, 1), (N, 1, H, W) or (N, C, H, W). None too where other
        things than prompts say which places count.
        """
        if self.prompts is None or self.prompts.gate is None or self.where != "prompts":
            return [None] * len(teacher)
        gate = self.prompts.gate
        return [t * s for t, s in zip(gate(teacher), gate(student))]

    @torch.no_grad()
    def place_weights(
        self,
        student: Sequence[Tensor],
        teacher: Sequence[Tensor],
        step: Optional[Step] = None,
        offsets: Optional[Sequence[Optional[Offset]]] = None,
    ) -> List[Weights]:
        """How much each place counts: per level, per group of bands (N, h, w); None: all alike.

        Args:
            student, teacher: (N, C, H, W) of each level, aligned.
            step: of this training step, for ``where='boxes'``.
            offsets: by how much the maps of each level are moved before they are transformed;
                None: not at all.

        Raises:
            FeatureError: ``where='boxes'``, and the batch has none.
        """
        offsets = offsets or [None] * len(teacher)
        if self.where == "boxes":
            boxes, image = batch_boxes(step, "freekd.where='boxes'")
            check_images(boxes, teacher[0], "freekd.where='boxes'")
            found: List[Weights] = []
            for feat, offset in zip(teacher, offsets):
                inside = torch.stack([box_map(one, image, feat.shape[-2:]) for one in boxes])
                inside = moved(inside, offset)
                found.append(
                    box_weights(
                        inside.to(feat.device), self.box_share, self.transform, self.granularity
                    )
                )
            return found
        if self.where is None:
            return [None] * len(teacher)
        teacher = [moved(feat, offset) for feat, offset in zip(teacher, offsets)]
        if self.where == "energy":
            return [energy_weights(feat, self.transform, self.granularity) for feat in teacher]
        assert self.prompts is not None
        refined = self.student_masks_from is not None and int(self.steps) >= self.student_masks_from
        if self.mask_norm is None and not refined:
            return list(self.prompts.weights(teacher, self.distance))
        masks = self.prompts.masks(teacher)
        if refined:
            if self.normalize is not None:  # prompts know the teacher's scale
                student = [as_teacher_scaled(s, t) for s, t in zip(student, teacher)]
            student = [moved(feat, offset) for feat, offset in zip(student, offsets)]
            theirs = self.prompts.masks(student)
            masks = [[a * b for a, b in zip(*level)] for level in zip(masks, theirs)]
        return [masked_weights(level, self.distance, self.mask_norm) for level in masks]

    def forward(
        self, student_feats: Feats, teacher_feats: Feats, step: Optional[Step] = None
    ) -> Tensor:
        """The loss of a batch, in MMRazor's order of arguments.

        Args:
            student_feats: (N, C_s, H_s, W_s), or a tuple of such, one per pyramid level.
            teacher_feats: (N, C, H, W), likewise. No gradient flows into them.
            step: of this training step; needed with ``where='boxes'`` alone.

        Returns:
            A scalar, ``loss_weight`` included; computed in float32, also under autocast.

        Raises:
            ValueError: levels or channels are not those of the config.
        """
        maps = self.check_feats(student_feats, teacher_feats)
        with torch.autocast(device_type=maps[1][0].device.type, enabled=False):
            student, teacher = zip(*self.aligned(*maps))
            gates = self.relation_weights(student, teacher)
            offsets = [random_offset(self.transform) if self.shift else None for _ in teacher]
            places = self.place_weights(student, teacher, step, offsets)
            total = torch.zeros((), device=student[0].device)
            for s, t, weights, gate, offset in zip(student, teacher, places, gates, offsets):
                total = total + weighted_distance(
                    s, t, weights, gate, self.transform, self.granularity, self.bands,
                    self.distance, self.normalize, self.average, offset,
                )  # fmt: skip
        if self.student_masks_from is not None and self.training:
            self.steps += 1
        return self.loss_weight * total

    def extra_repr(self) -> str:
        """One line for ``print(model)``."""
        made = self.prompts.spec if self.prompts is not None else "no prompts"
        return (
            f"{self.transform}, {self.granularity!r}, {made}, bands={self.bands!r}, "
            f"normalize={self.normalize!r}, distance={self.distance!r}, "
            f"average={self.average!r}, where={self.where!r}, shift={self.shift}, "
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
        sam=dict(
            freekd=Bundled(
                "configs/freekd/sam_tiny_w96_w24_digits_encoder.py",
                "FreeKD",
                "FreeKD",
                "configs/decoder/sam_tiny_w96_w24_digits.py",
            )
        ),
    ),
    published=(
        Published("RetinaNet R101 -> R50", "COCO AP", 37.4, 39.9, "paper"),
        Published("RetinaNet X101-64x4d -> R50", "COCO AP", 37.4, 41.0, "paper"),
        Published("Faster R-CNN R101 -> R50", "COCO AP", 38.4, 40.8, "paper"),
        Published("Cascade Mask R-CNN X101 -> Faster R-CNN R50", "COCO AP", 38.4, 42.4, "paper"),
        Published("RepPoints X101-DCN -> R50", "COCO AP", 38.6, 42.4, "paper"),
        Published("FCOS R101 -> R50", "COCO AP", 38.5, 42.9, "paper"),
        Published("Deformable DETR R101 -> R18", "COCO AP", 36.4, 38.9, "paper, 12 epochs"),
        Published("SAM ViT-H -> SAM ViT-Tiny", "mIoU to ViT-H", 40.12, 44.63, "paper, table 6"),
        Published("Deformable DETR R101 -> MobileNetV2", "COCO AP", 33.5, 36.2, "paper, 12 epochs"),
        Published("DINO Swin-L -> R50", "COCO AP", 48.4, 50.4, "paper, 12 epochs"),
        Published("DINO Swin-L -> R18", "COCO AP", 45.1, 47.3, "paper, 12 epochs"),
        Published("PSPNet R101 -> R18", "Cityscapes mIoU", 69.85, 74.40, "paper"),
        Published("PSPNet R101 -> DeepLabV3 R18", "Cityscapes mIoU", 73.20, 76.45, "paper"),
    ),
)
