"""``UFDKDLoss``: unified frequency decoupling, a map's mean and the rest of it, in two directions.

With P and R, the student's map projected twice, and the teacher's T, all as tokens (N, HW, C), and
unit(x) = x / max(||x||, 1e-12):

    spatial, mean over the HW places, unit along C:
        L_sdc = a_1 HW/N sum_n    || unit(mean P) - unit(mean T) ||^2
        L_sac = a_2 1/N  sum_n,p  || unit(P - mean P) - unit(T - mean T) ||^2
    channel, mean over the C channels, unit along the places:
        L_cdc = a_3 C/N  sum_n    || unit(mean R) - unit(mean T) ||^2
        L_cac = a_4 1/N  sum_n,c  || unit(R - mean R) - unit(T - mean T) ||^2

The mean is the zero frequency of a cosine transform, what is left all others: no transform is
computed, see :mod:`freekd.losses.decouple`. The projection is an attention over the student's
places in classification (:mod:`freekd.losses.projector`), two or four convolutions in segmentation.
"""

from typing import Any, Dict, List, Mapping, NamedTuple, Optional, Sequence, Tuple, Union

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from freekd.checks import FeatureError, check_choice, check_flag, check_integer, check_weight
from freekd.widen import wide_dtype

from .card import Bundled, Card, Case, Outcome
from .conv_projector import ConvProjector, EnhancedProjector
from .decouple import decoupled_distance
from .projector import UPSAMPLES, AttentionProjector, check_grid, check_heads, scales_of
from .tokens import as_map, as_tokens, check_index

PROJECTORS = ("attention", "plain", "enhanced")
ALPHA = dict(  # published, of each projector
    attention=(0.03, 0.065, 0.003, 0.0065),
    plain=(0.004, 0.0012, 0.001, 0.002),
    enhanced=(0.004, 0.0012, 0.001, 0.002),
)
OF_ATTENTION = ("query_hw", "pos_hw", "num_heads", "softmax_scale", "upsample")
Alpha = Sequence[float]


class Terms(NamedTuple):
    """The four terms, weights included; ``total``, their sum, alone has a gradient."""

    total: Tensor
    dc_spat: Tensor
    ac_spat: Tensor
    dc_channel: Tensor
    ac_channel: Tensor


def ufdkd_loss(spatial: Tensor, channel: Tensor, teacher: Tensor, alpha: Alpha) -> Terms:
    """The equations above.

    Args:
        spatial, channel: P and R, (N, HW, C).
        teacher: T, (N, HW, C); no gradient flows into it.
        alpha: a_1 to a_4.

    >>> tokens = torch.randn(2, 6, 4)
    >>> float(ufdkd_loss(2 * tokens, 3 * tokens, tokens, (1, 1, 1, 1)).total) < 1e-9
    True
    """
    weights = [weight / len(teacher) for weight in alpha]
    in_space = decoupled_distance(spatial, teacher, 1, *weights[:2])
    in_channels = decoupled_distance(channel, teacher, 2, *weights[2:])
    total = in_space.total + in_channels.total
    return Terms(total, in_space.dc, in_space.ac, in_channels.dc, in_channels.ac)


class UFDKDLoss(nn.Module):
    """UFD-KD between one map of the student and one of the teacher, see the module's equations.

    It taps backbones, and takes one of their outputs, or a layer or stage. Each split has a
    projector of its own. They are trained with the student: their gradient is in what
    ``optimizer_config.grad_clip`` clips, if it is set (the authors clip the projectors of
    segmentation alone, at a norm of 15).

    Args:
        student_dims, teacher_dims: channels of the two maps. These and the grids are told by the
            models, if the config does not say them.
        projector: ``attention``, the paper's for classification; ``plain`` or ``enhanced``, two or
            four 3x3 convolutions behind a 1x1 convolution from the student's channels to the
            teacher's (none where they agree), for segmentation: maps of one size.
        query_hw: (H, W) of the teacher's map, after ``teacher_pool``.
        pos_hw: (H, W) of the student's map, enlarged by ``upsample``.
        num_heads: of the attention; it divides ``teacher_dims``.
        softmax_scale: of the attention: one number, or one for each split.
        upsample: 1, or 2: the student's map is enlarged by 2; None: as ``pos_hw`` tells.
        teacher_pool: (H, W), to which the teacher's map is pooled first (average); None: not.
        alpha: weights of the four terms: spatial mean and rest, channel mean and rest; None: those
            that are published for the projector.
        legacy_reshape: with convolutions: R is read as the release reads it, (C, H, W) in memory as
            if it were (HW, C), so that its entries are compared with others of the teacher's.
        student_index, teacher_index: which of a backbone's outputs; -1, the last.
        loss_weight: of all four terms.

    Attributes:
        parts: the four terms of the last step, weights included, detached.

    Raises:
        ValueError: a value of another kind, or one that does not go with another; names the key.
    """

    takes_output = True  # forward gets what the backbones gave
    widens = True

    @staticmethod
    def check_options(options: Mapping[str, Any], key: str) -> None:
        """What a config says, by its config keys; raises ValueError."""
        kind = options.get("projector", "attention")
        check_choice(f"{key}.projector", kind, PROJECTORS)
        for name in OF_ATTENTION if kind != "attention" else ("legacy_reshape",):
            if options.get(name):
                raise ValueError(
                    f"{key}.{name}={options[name]!r} is not for projector={kind!r}. Remove it, or "
                    f"choose a projector that has it: {', '.join(_having(name))}"
                )
        for name in ("query_hw", "pos_hw", "teacher_pool"):
            if options.get(name) is not None:
                check_grid(f"{key}.{name}", options[name])
        if "num_heads" in options:
            check_integer(f"{key}.num_heads", options["num_heads"], 2**15)
        if "softmax_scale" in options:
            scales_of(options["softmax_scale"], f"{key}.softmax_scale")
        if "upsample" in options:
            check_choice(f"{key}.upsample", options["upsample"], UPSAMPLES)
        if options.get("alpha") is not None:
            _check_alpha(f"{key}.alpha", options["alpha"])
        for name in ("student_index", "teacher_index"):
            if name in options:
                check_index(f"{key}.{name}", options[name])
        if "legacy_reshape" in options:
            check_flag(f"{key}.legacy_reshape", options["legacy_reshape"])
        if "loss_weight" in options:
            check_weight(f"{key}.loss_weight", options["loss_weight"])

    @staticmethod
    def tell(options: Mapping[str, Any], student: Any, teacher: Any, key: str) -> Dict[str, Any]:
        """Channels and grids that a config does not say, of a blank image.

        Args:
            options: what it says.
            student, teacher: with ``outputs()``, what the tapped module gives, and ``size``, None
                where nobody knows of which size the data's images are: then no grids are told.
            key: the config key of the entry.

        Raises:
            FeatureError: there is no map; names the key.
        """
        attention = options.get("projector", "attention") == "attention"
        found: Dict[str, Any] = {}
        for who, look, grid in (("student", student, "pos_hw"), ("teacher", teacher, "query_hw")):
            wanted = [f"{who}_dims"] + [grid] * (attention and look.size is not None)
            if all(options.get(name) is not None for name in wanted):
                continue
            name = f"{who}_index"
            feat = as_map(look.outputs(), f"{key}.{name}", options.get(name, -1))
            height, width = feat.shape[-2:]
            if who == "teacher" and options.get("teacher_pool") is not None:
                height, width = options["teacher_pool"]
            factor = (options.get("upsample") or 1) if who == "student" else 1
            told = {f"{who}_dims": feat.shape[1], grid: (factor * height, factor * width)}
            found.update({name: told[name] for name in wanted if options.get(name) is None})
        return found

    def __init__(
        self,
        student_dims: int,
        teacher_dims: int,
        projector: str = "attention",
        query_hw: Optional[Sequence[int]] = None,
        pos_hw: Optional[Sequence[int]] = None,
        num_heads: int = 32,
        softmax_scale: Union[float, Sequence[float]] = (5.0, 5.0),
        upsample: Optional[int] = None,
        teacher_pool: Optional[Sequence[int]] = None,
        alpha: Optional[Alpha] = None,
        legacy_reshape: bool = False,
        student_index: int = -1,
        teacher_index: int = -1,
        loss_weight: float = 1.0,
    ) -> None:
        super().__init__()
        given: Dict[str, Any] = dict(
            projector=projector,
            teacher_pool=teacher_pool,
            alpha=alpha,
            legacy_reshape=legacy_reshape,
            student_index=student_index,
            teacher_index=teacher_index,
            loss_weight=loss_weight,
        )
        self.check_options(given, "ufdkd")
        check_integer("ufdkd.student_dims", student_dims, 2**15)
        check_integer("ufdkd.teacher_dims", teacher_dims, 2**15)
        self.student_dims, self.teacher_dims = student_dims, teacher_dims
        self.projector, self.legacy_reshape = projector, legacy_reshape
        self.teacher_pool = None if teacher_pool is None else (teacher_pool[0], teacher_pool[1])
        self.alpha = tuple(ALPHA[projector] if alpha is None else alpha)
        self.student_index, self.teacher_index = student_index, teacher_index
        self.loss_weight = loss_weight
        self.parts: Dict[str, Tensor] = {}
        self.align: Optional[nn.Conv2d] = None
        self.spatial: nn.Module
        self.channel: nn.Module
        if projector == "attention":
            for name, grid in (("query_hw", query_hw), ("pos_hw", pos_hw)):
                if grid is None:
                    raise ValueError(
                        f"ufdkd.{name} is missing: the height and width of the "
                        f"{'teacher' if name == 'query_hw' else 'student'}'s map, such as (7, 7) "
                        "for images of 224 pixels and a stride of 32. Add it"
                    )
            assert query_hw is not None and pos_hw is not None
            check_heads("ufdkd.num_heads", num_heads, teacher_dims)
            self.spatial, self.channel = (
                AttentionProjector(
                    student_dims, teacher_dims, query_hw, pos_hw, num_heads, scale,
                    upsample, key="ufdkd.",
                )
                for scale in scales_of(softmax_scale, "ufdkd.softmax_scale")
            )  # fmt: skip
            return
        if student_dims != teacher_dims:
            self.align = nn.Conv2d(student_dims, teacher_dims, 1)
        kind = ConvProjector if projector == "plain" else EnhancedProjector
        self.spatial, self.channel = kind(teacher_dims), kind(teacher_dims)

    # ----------------------------------------------------------------- what the taps give
    def check_feats(self, student: Any, teacher: Any) -> Tuple[List[Tensor], List[Tensor]]:
        """The two maps of what the backbones gave, the teacher's pooled; checked.

        Raises:
            FeatureError: no maps, other channels, or grids that do not fit; names the key, what was
                expected, what came, and the remedy.
        """
        maps = []
        for who, output in (("student", student), ("teacher", teacher)):
            feat = as_map(output, f"ufdkd.{who}_index", getattr(self, f"{who}_index"))
            expected = getattr(self, f"{who}_dims")
            if feat.shape[1] != expected:
                raise FeatureError(
                    f"ufdkd.{who}_dims={expected}: the {who}'s map is {tuple(feat.shape)}, "
                    f"with {feat.shape[1]} channels. Correct the number, or ufdkd.{who}_index"
                )
            maps.append(feat)
        student_map, teacher_map = maps[0], self._pooled(maps[1])
        grid = tuple(teacher_map.shape[-2:])
        if isinstance(self.spatial, AttentionProjector):
            if grid != self.spatial.query_hw:
                raise FeatureError(
                    f"ufdkd.query_hw={self.spatial.query_hw}: the teacher's map is {grid}. Set "
                    f"ufdkd.query_hw={grid}, pool the map by ufdkd.teacher_pool="
                    f"{self.spatial.query_hw}, or train on images of another size"
                )
            self.spatial.check_student(student_map.shape)
        elif tuple(student_map.shape[-2:]) != grid:
            raise FeatureError(
                f"ufdkd: the student's map is {tuple(student_map.shape[-2:])}, the teacher's "
                f"{grid}: projector={self.projector!r} takes maps of one size. Tap stages of one "
                f"stride, set ufdkd.teacher_pool={tuple(student_map.shape[-2:])}, or "
                "projector='attention'"
            )
        return [student_map], [teacher_map]

    def _pooled(self, teacher: Tensor) -> Tensor:
        teacher = teacher.detach().to(wide_dtype(next(self.parameters())))
        if self.teacher_pool is None or tuple(teacher.shape[-2:]) == self.teacher_pool:
            return teacher
        return F.adaptive_avg_pool2d(teacher, self.teacher_pool)

    # ----------------------------------------------------------------- a step
    def forward(self, student: Any, teacher: Any) -> Tensor:
        """A scalar, weights included; in the parameters' precision, also under autocast.

        Args:
            student, teacher: what the tapped modules gave, see :func:`.tokens.as_map`.

        Raises:
            FeatureError: as :meth:`check_feats`.
        """
        (student_map,), (teacher_map,) = self.check_feats(student, teacher)
        with torch.autocast(device_type=teacher_map.device.type, enabled=False):
            terms = ufdkd_loss(*self.projected(student_map), as_tokens(teacher_map), self.alpha)
            named = {name: getattr(terms, name) for name in Terms._fields[1:]}
            self.parts = {name: self.loss_weight * part for name, part in named.items()}
            return self.loss_weight * terms.total

    def projected(self, student: Tensor) -> Tuple[Tensor, Tensor]:
        """P and R, (N, HW, C), of the student's map (N, C_s, h, w)."""
        if self.projector == "attention":
            return self.spatial(student), self.channel(student)
        student = student.to(wide_dtype(next(self.parameters())))
        if self.align is not None:
            student = self.align(student)
        spatial, channel = self.spatial(student), self.channel(student)
        if not self.legacy_reshape:
            return as_tokens(spatial), as_tokens(channel)
        count, channels, height, width = channel.shape
        return as_tokens(spatial), channel.reshape(count, height * width, channels)

    def extra_repr(self) -> str:
        return f"{self.projector}, alpha={self.alpha}, loss_weight={self.loss_weight:g}"


def _having(name: str) -> Sequence[str]:
    return PROJECTORS[:1] if name in OF_ATTENTION else PROJECTORS[1:]


def _check_alpha(key: str, value: Any) -> None:
    if not isinstance(value, (list, tuple)) or len(value) != 4:
        raise ValueError(
            f"{key} must be four weights, of the spatial mean and rest and of the channel mean and "
            f"rest, got {value!r}"
        )
    for one in value:
        check_weight(key, one)


# --------------------------------------------------------------------------- reference numbers
def golden(case: Case) -> Outcome:
    """The terms alone, the attention projector, or the convolutions; by what the file has."""
    if "projected_spatial" in case.inputs:
        spatial, channel = (case.inputs[f"projected_{split}"] for split in ("spatial", "channel"))
        teacher = as_tokens(case.inputs["teacher"])
        return Outcome(_named(ufdkd_loss(spatial, channel, teacher, case.options["alpha"])))
    return _of_convolutions(case) if "student_channels" in case.options else _of_attention(case)


def _named(terms: Terms) -> Dict[str, Tensor]:
    names = ("loss", "spatial_dc", "spatial_ac", "channel_dc", "channel_ac")
    return dict(zip(names, terms))


def _fill(loss: UFDKDLoss, case: Case) -> Mapping[str, Tensor]:
    """Set the loss's parameters and buffers to the case's; its parameters by the case's names."""
    loss.to(next(iter(case.parameters.values())).dtype)
    learned = {}
    for name, value in [*loss.named_parameters(), *loss.named_buffers()]:
        if name.endswith("num_batches_tracked"):
            continue
        short = name.replace("student_norm", "student_bn").replace(".", "_")
        value.data.copy_(case.parameters[short].view_as(value))
        if isinstance(value, nn.Parameter):
            learned[short] = value
    unknown = set(case.parameters) - {*learned} - {n for n in case.parameters if "running" in n}
    if unknown:
        raise KeyError(f"no such parameters: {sorted(unknown)}")
    return learned


def _of_attention(case: Case) -> Outcome:
    options = case.options
    loss = UFDKDLoss(
        options["student_dims"], options["teacher_dims"], "attention", options["query_hw"],
        options["position_hw"], options["num_heads"], options["softmax_scale"],
        options["upsample"], alpha=options["alpha"],
    )  # fmt: skip
    learned = _fill(loss, case)
    tokens = loss.projected(case.inputs["student"])
    terms = ufdkd_loss(*tokens, as_tokens(case.inputs["teacher"]), loss.alpha)
    outputs = _named(terms)
    outputs.update(projected_spatial=tokens[0], projected_channel=tokens[1])
    return Outcome(outputs, learned)


def _of_convolutions(case: Case) -> Outcome:
    """The release's reading of R gives the loss, the corrected one two values beside it."""
    options, outputs = case.options, {}
    learned: Mapping[str, Tensor] = {}
    for legacy in (False, True):
        loss = UFDKDLoss(
            options["student_channels"],
            options["teacher_channels"],
            "enhanced" if options["enhance_projector"] else "plain",
            alpha=options["alpha"],
            legacy_reshape=legacy,
        )
        learned = _fill(loss, case)
        value = loss(case.inputs["student"], case.inputs["teacher"])
        for split, kind in (("spat", "spatial"), ("channel", "channel")):
            for part in ("dc", "ac"):
                name = f"{kind}_{part}" if legacy or split == "spat" else f"{kind}_{part}_permuted"
                outputs[name] = loss.parts[f"{part}_{split}"]
        outputs["loss"] = value
    return Outcome(outputs, learned)


def _hint(loss: UFDKDLoss) -> str:
    """The weights of the authors' configs."""
    return (
        f"published for projector={loss.projector!r}: loss_weight=1 with alpha="
        f"{ALPHA[loss.projector]}; part.ufdkd.* in the log shows the four terms"
    )


CARD = Card(
    name="ufdkd",
    title="UFD-KD",
    summary="A map's mean and the rest of it apart, over places and over channels.",
    module=UFDKDLoss,
    paper="UFD-KD (which publishes no results), the authors' repository, "
    "https://github.com/lusilili/UFD-KD",
    tasks=("cls", "seg"),
    taps=dict(cls="backbone", seg="backbone"),
    of_task=dict(seg=dict(projector="plain")),
    hint=_hint,
    bundled=dict(
        cls=dict(
            ufdkd=Bundled("configs/ufdkd/resnet34_resnet18_digits_cls.py", "UFD-KD", "UFD-KD")
        ),
        seg=dict(ufdkd=Bundled("configs/ufdkd/fpn_r34_r18_digits_seg.py", "UFD-KD", "UFD-KD")),
    ),
    golden=golden,
)
