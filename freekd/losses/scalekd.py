"""``ScaleKDLoss``: a student's stages seen by the teacher's own last stage (Fan et al.).

An attention projector makes tokens on the teacher's grid of a student's map S: P = Pi_spat(S), and
R = Pi_freq(S) with parameters of its own. They are compared with the teacher's tokens T in two
views, as they are and without their zero frequency, the mean over positions:

    L(P, R) =   a_spat 1/N sum_n,p | nrm(P) - nrm(T) |^2
              + a_freq 1/N sum_n,p | nrm(R - mean(R)) - nrm(T - mean(T)) |^2

nrm is to length 1 along the channels. With the teacher's tail Theta, all that it computes between
its stage 3 and its last output:

    stage 3:  P3 = Theta(Pi3_spat(S3)),  R3 = Theta(Pi3_freq(S3)),  L_s3 = L(P3, R3)
    stage 4:  P4 = Pi4_spat(S4; queries P3),  R4 = Pi4_freq(S4; queries R3),  L_s4 = L(P4, R4)
    L = L_s3 + L_s4

The gradient runs through Theta, not into its weights, and through the queries to stage 3.

Two deviations from the release: the teacher stays in evaluation mode; and the tail of a ViT ends
with the final norm, through which T has gone, where the release's ends with the last block.
"""

from contextlib import nullcontext
from typing import Any, Callable, Dict, Mapping, Optional, Sequence, Tuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from freekd.checks import FeatureError, check_named_taps, check_weight
from freekd.widen import wide_dtype

from .card import Bundled, Card, Case, Outcome, Published
from .stage import Stage, view_loss
from .stage_options import NOTHING, TAPS, VIEWS, StageOptions, check_shapes, read_stages
from .step import Step
from .tails import check_tail, find_tail
from .tokens import as_map, as_tokens, shape_of

STAGES = ("stage3", "stage4")
SHAPES = ("student_shapes", "teacher_shapes")
LEAVE_OUT = ", or leave its stage out (stage3=None, stage4=None)"
LOW = (torch.float16, torch.bfloat16)


class ScaleKDLoss(nn.Module):
    """The equation of the module; see the entry's options in :class:`StageOptions`.

    The taps are ``s3`` and ``s4``: stages 3 and 4 of the student, stage 3 of the teacher, where its
    tail begins, and the output with which it ends. Stage 4 alone has queries of its own.

    Args:
        stage3, stage4: options of each; None leaves the stage out.
        tail: paths of the teacher's modules between both taps, where its kind is not known to
            :mod:`freekd.losses.tails`; None: known.
        tail_maps: whether these take maps, and not tokens.
        loss_weight: of the whole.
        student_shapes, teacher_shapes: from a tap's name to (C, H, W), as the models tell.

    Raises:
        ValueError: an option that is none, or something neither given nor told; names the key.
    """

    named_taps = True
    widens = True  # projectors and tail run in the precision of the maps

    @staticmethod
    def check_options(options: Mapping[str, Any], key: str) -> None:
        """What a config says, by its config keys; raises ValueError."""
        read_stages({name: options.get(name, NOTHING) for name in STAGES}, f"{key}.")
        check_tail(options.get("tail"), options.get("tail_maps", False), f"{key}.")
        for name in SHAPES:
            check_shapes(options.get(name), f"{key}.{name}")

    @staticmethod
    def tell(options: Mapping[str, Any], student: Any, teacher: Any, key: str) -> Dict[str, Any]:
        """Channels and grids that a config does not say, of a blank image.

        Args:
            options: what it says.
            student, teacher: with ``outputs()``, what the tapped modules give for an image of the
                data's size, ``size``: None where nobody knows it.
            key: the config key of the entry.

        Raises:
            FeatureError: no size is known, or a tap gives no map.
        """
        stages = read_stages({name: options.get(name, NOTHING) for name in STAGES}, f"{key}.")
        lacking = [name for name, stage in stages.items() if stage.lacks]
        if not lacking:
            return {}
        if student.size is None:
            raise FeatureError(
                f"{key}.{lacking[0]}: how large the data's images are cannot be told from the "
                f"training pipeline. Give query_hw, pos_hw, student_dims and teacher_dims"
            )
        return {
            f"{who}_shapes": {
                TAPS[name]: list(_shape(output, stages[name], who, TAPS[name], key))
                for name in lacking
            }
            for who, output in (("student", student.outputs()), ("teacher", teacher.outputs()))
        }

    def __init__(
        self,
        stage3: Optional[Mapping[str, Any]] = NOTHING,
        stage4: Optional[Mapping[str, Any]] = NOTHING,
        tail: Optional[Sequence[str]] = None,
        tail_maps: bool = False,
        loss_weight: float = 1.0,
        student_shapes: Optional[Mapping[str, Sequence[int]]] = None,
        teacher_shapes: Optional[Mapping[str, Sequence[int]]] = None,
    ) -> None:
        super().__init__()
        stages = read_stages(dict(stage3=stage3, stage4=stage4), "")
        check_tail(tail, tail_maps, "")
        check_shapes(student_shapes, "student_shapes")
        check_shapes(teacher_shapes, "teacher_shapes")
        check_weight("loss_weight", loss_weight)
        self.loss_weight, self.tail, self.tail_maps = loss_weight, tail, tail_maps
        for name, tap in TAPS.items():
            if name in stages and tap in (student_shapes or {}) and tap in (teacher_shapes or {}):
                shapes = (student_shapes or {})[tap], (teacher_shapes or {})[tap]
                stages[name] = stages[name].told(*shapes)
        weights = {name: dict(zip(VIEWS, options.alpha)) for name, options in stages.items()}
        self.weights = weights
        self.parts: Dict[str, Tensor] = {}  # of the last call, for the log
        self.stages = nn.ModuleDict()
        for name, options in stages.items():  # stage 4's views want stage 3's tokens as queries
            used = [v for v in VIEWS if weights[name][v] or weights.get("stage4", weights[name])[v]]
            used = used if name == "stage3" else [view for view in VIEWS if weights[name][view]]
            own = name == "stage3" or "stage3" not in stages
            self.stages[name] = Stage(options, used, own, name)

    # ----------------------------------------------------------------- checks before training
    def check_models(self, step: Step, key: str) -> None:
        """Whether the teacher has a tail that takes stage 3's tokens, and gives stage 4's.

        Raises:
            ValueError: it has none that is known, or it does not take them; names the key.
        """
        if "stage3" not in self.stages:
            return
        tail = self.teacher_tail(step, key)
        stage: Any = self.stages["stage3"]
        (height, width), dims = stage.query_hw, stage.options.teacher_dims
        assert step.teacher is not None  # or there would be no tail
        tokens = next(step.teacher.parameters()).new_zeros((1, height * width, dims))
        said = f"{key}.stage3: teacher_dims={dims} and query_hw={stage.query_hw}"
        try:
            with torch.no_grad():
                out = tail(tokens)
        except (RuntimeError, ValueError, IndexError, AssertionError, TypeError) as error:
            text = (str(error).strip().splitlines() or [type(error).__name__])[0]
            raise ValueError(
                f"{said}: the tail of the teacher {type(step.teacher).__name__} does not take such "
                f"tokens, {tuple(tokens.shape)}: {text}. Set them to what its stage 3 gives"
            ) from error
        if "stage4" in self.stages:
            last: Any = self.stages["stage4"]
            count = last.query_hw[0] * last.query_hw[1]
            if tuple(out.shape[1:]) != (count, last.options.teacher_dims):
                raise ValueError(
                    f"{said} become {tuple(out.shape)} in the teacher's tail, but {key}.stage4 has "
                    f"teacher_dims={last.options.teacher_dims} and query_hw={last.query_hw}, "
                    f"{count} tokens. Correct one of them"
                )

    def check_taps(
        self, student: Mapping[str, Any], teacher: Mapping[str, Any], step: Any, key: str
    ) -> None:
        """What the taps give for a blank image of the data's size; raises FeatureError."""
        try:
            self.check_feats(student, teacher)
        except FeatureError as error:
            raise FeatureError(f"{key}: {error}") from error

    def check_feats(
        self, student: Mapping[str, Any], teacher: Mapping[str, Any]
    ) -> Tuple[Dict[str, Tensor], Tensor]:
        """The student's maps by stage, and the teacher's last tokens.

        Raises:
            FeatureError: a tap is missing, or gives something else than the config says.
        """
        wanted, known = [TAPS[name] for name in self.stages], list(TAPS.values())
        check_named_taps("module (student)", student, wanted, known, LEAVE_OUT)
        check_named_taps("module (teacher)", teacher, ["s4"], known)
        maps = {name: s.student_map(student[TAPS[name]]) for name, s in self._stages()}
        if "stage4" in self.stages:
            return maps, dict(self._stages())["stage4"].teacher_tokens(teacher["s4"])
        return maps, as_tokens(as_map(teacher["s4"], "module (teacher), tap s4"))

    def _stages(self) -> Sequence[Tuple[str, Any]]:
        return list(self.stages.items())

    # ----------------------------------------------------------------- a step
    def teacher_tail(
        self, step: Optional[Step], key: str = "scalekd"
    ) -> Callable[[Tensor], Tensor]:
        """Theta, from stage 3's tokens to the last ones; to be overridden in tests.

        Raises:
            ValueError: there is no teacher, or its tail is not known.
        """
        if step is None or step.teacher is None:
            raise ValueError(
                f"{key}.stage3: expected a teacher whose tail it can use, got none. Leave stage 3 "
                f"out ({key}.stage3=None)"
            )
        paths = step.paths[1]
        tail = find_tail(step.teacher, paths.get("s3"), paths["s4"], key, self.tail, self.tail_maps)
        stage: Any = self.stages["stage3"]
        return lambda tokens: tail(tokens, stage.query_hw)[0]

    def terms(
        self, student: Mapping[str, Any], teacher: Mapping[str, Any], step: Optional[Step] = None
    ) -> Dict[str, Tensor]:
        """Each term by stage and view, such as ``stage3_spatial``, its alpha included."""
        maps, target = self.check_feats(student, teacher)
        queries: Dict[str, Tensor] = {}
        found: Dict[str, Tensor] = {}
        for name, stage in self._stages():
            with _precision_of(maps[name]):
                tokens = stage(maps[name], queries)
                if name == "stage3":
                    tokens = queries = self._through(
                        self.teacher_tail(step), tokens, wide_dtype(maps[name])
                    )
            with torch.autocast(target.device.type, enabled=False):
                for view, weight in self.weights[name].items():
                    if weight:
                        value = self._matched(name, tokens[view], target, view)
                        found[f"{name}_{view}"] = weight * value
        return found

    @staticmethod
    def _matched(name: str, tokens: Tensor, target: Tensor, view: str) -> Tensor:
        if tokens.shape != target.shape:
            raise FeatureError(
                f"{name}: its tokens are {tuple(tokens.shape)} after the teacher's tail, the "
                f"teacher's own {tuple(target.shape)}. Correct {name}.query_hw and "
                f"{name}.teacher_dims, or the taps"
            )
        return view_loss(tokens, target, without_mean=view == "frequency")

    @staticmethod
    def _through(
        tail: Callable[[Tensor], Tensor], tokens: Mapping[str, Tensor], dtype: torch.dtype
    ) -> Dict[str, Tensor]:
        """All views in one pass: in evaluation mode no image of a batch sees another."""
        out = tail(torch.cat([one.to(dtype) for one in tokens.values()]))
        return dict(zip(tokens, out.chunk(len(tokens))))

    def forward(
        self, student: Mapping[str, Any], teacher: Mapping[str, Any], step: Optional[Step] = None
    ) -> Tensor:
        """A scalar, in float32 at least.

        Args:
            student: ``s3`` and ``s4``: maps (N, C, H, W), or tokens, see :func:`.tokens.as_map`.
            teacher: ``s4``, its last output, likewise.
            step: with the teacher, whose tail is used.

        Raises:
            FeatureError: taps that are not what the config says.
        """
        terms = self.terms(student, teacher, step)
        self.parts = {name: value.detach() for name, value in terms.items()}
        return self.loss_weight * torch.stack([*terms.values()]).sum()


def _shape(
    outputs: Mapping[str, Any], stage: StageOptions, who: str, tap: str, key: str
) -> Tuple[int, int, int]:
    """(C, H, W) of what a tap gave.

    Raises:
        FeatureError: there is no such tap, or it gave no map.
    """
    check_named_taps(f"{key}.module ({who})", outputs, [tap], list(TAPS.values()), LEAVE_OUT)
    index = stage.student_index if who == "student" else stage.teacher_index
    return shape_of(outputs[tap], f"{key}.module ({who}), tap {tap!r}", index)


def _precision_of(feat: Tensor) -> Any:
    """Projectors and tail run in the precision in which the student's map comes."""
    if feat.dtype not in LOW:
        return nullcontext()  # or as an autocast around it says
    return torch.autocast(feat.device.type, dtype=feat.dtype)


def golden(case: Case) -> Outcome:
    """The reference's numbers: a stage alone, with queries given, or both with a stand-in tail."""
    if "student_stage3" in case.inputs:
        return _golden_both(case)
    options = {
        name: case.options[name]
        for name in ("alpha", "student_dims", "teacher_dims", "query_hw", "num_heads")
    }
    options.update(pos_hw=case.options["position_hw"], softmax_scale=case.options["softmax_scale"])
    loss = ScaleKDLoss(stage3=None, stage4=options)
    queries = {v: case.inputs[f"query_{v}"] for v in VIEWS if f"query_{v}" in case.inputs}
    if queries:  # as if of stage 3
        stage = Stage(StageOptions(**options), VIEWS, learned_query=False, key="stage4")
        loss.stages["stage4"], alone = stage, stage.forward
        stage.forward = lambda feat, _: alone(feat, queries)  # type: ignore[assignment, misc]
    loss = loss.to(case.inputs["student"].dtype)
    _load(loss, case, {"": "stage4"})
    terms = loss.terms({"s4": case.inputs["student"]}, {"s4": case.inputs["teacher"]})
    outputs = {name.split("_")[1]: value for name, value in terms.items()}
    return Outcome(dict(outputs, loss=torch.stack([*terms.values()]).sum()))


def _golden_both(case: Case) -> Outcome:
    """The stand-in: means of 2 x 2 tokens, a linear layer, layer norm; all of it frozen."""
    given = case.options
    stages: Dict[str, Any] = {}
    frozen = {k[5:]: v.detach() for k, v in case.parameters.items() if k.startswith("tail_")}
    channels, width = frozen["linear_weight"].shape
    for name, dims in (("stage3", width), ("stage4", channels)):
        stages[name] = dict(
            alpha=given[f"alpha_{name}"],
            num_heads=given[f"num_heads_{name}"],
            softmax_scale=given["softmax_scale"],
            student_dims=case.inputs[f"student_{name}"].shape[1],
            teacher_dims=dims,
            query_hw=given[f"query_hw_{name}"],
            pos_hw=given[f"position_hw_{name}"],
        )
    if given["self_query_stage4"]:
        raise ValueError("self_query_stage4 with stage 3: the queries from stage 3 win")
    loss = ScaleKDLoss(**stages).to(frozen["linear_weight"].dtype)
    _load(loss, case, {f"{name}_": name for name in STAGES})

    def tail(tokens: Tensor) -> Tensor:
        height, width = given["query_hw_stage3"]
        feat = tokens.transpose(1, 2).reshape(len(tokens), -1, height, width)
        tokens = F.avg_pool2d(feat, 2).flatten(2).transpose(1, 2)
        tokens = F.linear(tokens, frozen["linear_weight"], frozen["linear_bias"])
        return F.layer_norm(tokens, (channels,), frozen["norm_weight"], frozen["norm_bias"])

    loss.teacher_tail = lambda step, key="": tail  # type: ignore[method-assign]
    student = {TAPS[name]: case.inputs[f"student_{name}"] for name in STAGES}
    terms = loss.terms(student, {"s4": case.inputs["teacher_stage4"]})
    total = torch.stack([*terms.values()]).sum()
    return Outcome(dict(terms, loss=total), float32_gradients=2e-3)


def _load(loss: ScaleKDLoss, case: Case, stages: Mapping[str, str]) -> None:
    """The case's own tensors in place of the loss's parameters, so that gradients reach them."""
    for start, name in stages.items():
        stage: Any = loss.stages[name]
        for view, projector in stage.views.items():
            for path, value in list(projector.state_dict(keep_vars=True).items()):
                owner, _, last = path.rpartition(".")
                named = f"{start}{view}_{path}".replace("student_norm", "student_bn")
                if last == "num_batches_tracked":
                    continue
                tensor = case.parameters[named.replace(".", "_")].view(value.shape)
                module = projector.get_submodule(owner)
                if last in module._parameters:
                    module._parameters[last] = tensor
                else:
                    value.copy_(tensor.detach())


def _hint(loss: ScaleKDLoss) -> str:
    """The weights of the paper."""
    return (
        "the paper: alpha=(0.08, 0.06) in both stages, and beside it soft labels (tau=1, alpha=0.5)"
        "; a sum over the teacher's places, 49 of 224 pixels"
    )


_TOP1 = "ImageNet-1K top-1"
_PAPER = "paper and repository of the authors"
CARD = Card(
    name="scalekd",
    title="ScaleKD",
    summary="Stages 3 and 4, projected by attention, stage 3 through the teacher's own last stage.",
    module=ScaleKDLoss,
    paper=(
        "ScaleKD: Strong Vision Transformers Could Be Excellent Teachers, NeurIPS 2024, "
        "https://arxiv.org/abs/2411.06786"
    ),
    tasks=("cls",),
    taps=dict(
        cls=dict(
            student=dict(s3="three_quarters", s4="final"),
            teacher=dict(s3="backbone.stages.2", s4="backbone"),
        )
    ),
    needs=("the teacher's last stage",),
    hint=_hint,
    published=(
        Published("Swin-L -> ResNet-50, advanced, 300 epochs", _TOP1, 78.64, 82.03, _PAPER),
        Published("Swin-L -> ResNet-50, advanced, 600 epochs", _TOP1, 78.64, 82.55, _PAPER),
        Published("Swin-L -> MobileNetV1", _TOP1, 72.10, 75.15, _PAPER),
        Published("Swin-L -> ViT-B/16", _TOP1, 81.80, 85.53, _PAPER),
        Published("Swin-L -> ViT-S/16", _TOP1, 79.90, 83.93, _PAPER),
        Published("Swin-L -> ConvNeXt-T", _TOP1, 82.14, 84.16, _PAPER),
        Published("Swin-L -> Swin-T", _TOP1, 81.18, 83.80, _PAPER),
        Published("Swin-L -> Mixer-S/16", _TOP1, 74.02, 78.63, _PAPER),
        Published("Swin-L -> Mixer-B/16", _TOP1, 76.44, 81.96, _PAPER),
        Published("BEiT-L/14 -> ResNet-50", _TOP1, 78.64, 82.34, _PAPER),
        Published("BEiT-L/14 -> Mixer-B/14", _TOP1, 76.62, 82.89, _PAPER),
        Published("BEiT-L/14 -> ViT-B/14", _TOP1, 82.02, 86.43, _PAPER),
    ),
    bundled=dict(
        cls=dict(
            scalekd=Bundled("configs/scalekd/resnet34_resnet18_digits_cls.py", "ScaleKD", "ScaleKD")
        )
    ),
    golden=golden,
)
