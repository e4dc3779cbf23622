"""``OFAKDLoss``: one-for-all, the teacher's class probabilities for each stage of the student.

With p_t = softmax(t / tau), p_s = softmax(s / tau), the label's one-hot vector o and an exponent
eps >= 1:

    l(s, t, y; eps) = mean_n( - sum_k [ (p_t + o)^eps - o ]_k  log p_s,k )

so a class that is not the label's has the weight p_t^eps, and the label's (1 + p_t)^eps - 1: above
eps = 1 more than the teacher gives it, the others less. The loss is

    lambda_kd l(s, t, y; eps_last) + lambda_ofa sum_i l(branch_i(F_i), t, y; eps_i)

with a small branch from each of the student's four stages F_i to class logits, see
:mod:`freekd.losses.branches`; no feature of the teacher is compared, so that it may be of any
family. (The paper's formula has another form of the first factor; this one is of the code that the
authors ran.)
"""

import re
from typing import Any, Dict, List, Mapping, Optional, Sequence, Tuple, Union

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from freekd.checks import check_integer, check_named_taps, check_temperature, check_weight
from freekd.widen import wide_dtype, widened

from .branches import STAGES, MapBranch, TokenBranch, branch, stage_output
from .card import Bundled, Card, Case, Outcome
from .logits import check_logits, hard_labels, labels_in
from .step import Step

Shape = Union[int, Sequence[int]]
TAPS = {f"stage{i}": f"stage{i}" for i in STAGES}


def ofa_loss(
    student: Tensor, teacher: Tensor, labels: Tensor, eps: float = 1.0, tau: float = 1.0
) -> Tensor:
    """l above, a scalar, in float32 at least.

    Args:
        student, teacher: logits (N, K); no gradient flows into the teacher's.
        labels: (N,), each image's class.
        eps: at least 1; 1 is the soft cross entropy.
        tau: temperature. There is no factor tau^2.

    >>> ofa_loss(torch.zeros(2, 4), torch.zeros(2, 4), torch.tensor([0, 1]))  # log 4
    tensor(1.3863)
    """
    student, teacher = widened(student), widened(teacher.detach())
    target = F.one_hot(labels, teacher.shape[1])
    weights = ((teacher / tau).softmax(1) + target).pow_(eps).sub_(target)
    return -(weights * (student / tau).log_softmax(1)).sum(1).mean()


class OFAKDLoss(nn.Module):
    """OFA-KD, see the module's equations. It takes the named taps stage1 to stage4 and logits.

    On the teacher's side only ``logits`` counts. A stage's tap gives maps or tokens, before any
    final norm; its branch follows from what it gives. The branches are trained with the student.

    Args:
        stage_shapes: what an image gives at each stage: C, or (C, H, W), of maps, (L, C) of tokens:
            ``dict(stage1=64, stage2=128, ...)``. This and the numbers below are told by the models,
            if the config does not say them.
        student_dim, teacher_dim: channels of the features that the classifiers of both see.
        num_classes: K.
        stages: which of the four have a branch.
        eps: exponents: one number for all, or one for each stage and a last one for the logits.
        tau: temperature.
        stages_weight: lambda_ofa; 0.1 in the authors' runs on CIFAR-100.
        logits_weight: lambda_kd.
        task_weight: lambda_gt, what the student's own losses are multiplied by.

    Attributes:
        parts: the terms of the last step, weights included, detached.

    Raises:
        ValueError: a value of another kind, or a stage that has no branch; names the key.
    """

    named_taps = True
    widens = True

    @staticmethod
    def check_options(options: Mapping[str, Any], key: str) -> None:
        """What a config says, by its config keys; raises ValueError."""
        stages = options.get("stages", STAGES)
        if not _are_stages(stages):
            raise ValueError(f"{key}.stages must be some of 1, 2, 3 and 4, got {stages!r}")
        if "eps" in options:
            exponents(options["eps"], len(stages), f"{key}.eps")
        if "tau" in options:
            check_temperature(f"{key}.tau", options["tau"])
        for name in ("stages_weight", "logits_weight", "task_weight"):
            if name in options:
                check_weight(f"{key}.{name}", options[name])
        for name in ("student_dim", "teacher_dim", "num_classes"):
            if options.get(name) is not None:
                check_integer(f"{key}.{name}", options[name], 2**20)
        if options.get("stage_shapes") is not None:
            for stage in stages:
                _shape(options["stage_shapes"], stage, key)

    @staticmethod
    def tell(options: Mapping[str, Any], student: Any, teacher: Any, key: str) -> Dict[str, Any]:
        """What a config does not say, of the teacher's config and the student on a blank image.

        Args:
            options: what it says.
            student, teacher: with ``outputs()``, what each tapped module gives, and ``model``, the
                model's config.
            key: the config key of the entry.

        Raises:
            FeatureError: a tap is missing, or gives something else; names it.
        """
        found: Dict[str, Any] = {}
        width = _at(teacher.model, "head", "in_channels")
        if options.get("teacher_dim") is None and isinstance(width, int):
            found["teacher_dim"] = width
        wanted = ("stage_shapes", "student_dim", "num_classes")
        if all(options.get(name) is not None for name in wanted):
            return found
        outputs = student.outputs()
        _check_named(outputs, options.get("stages", STAGES), f"{key}.module (student)")
        shapes = {
            name: tuple(stage_output(output, f"{key}.module.{name}").shape[1:])
            for name, output in outputs.items()
            if name != "logits"
        }
        told: Dict[str, Any] = dict(stage_shapes=shapes)
        if "stage4" in shapes:
            told["student_dim"] = shapes["stage4"][0 if len(shapes["stage4"]) == 3 else 1]
        if torch.is_tensor(outputs.get("logits")):
            told["num_classes"] = outputs["logits"].shape[-1]
        found.update({n: told[n] for n in wanted if options.get(n) is None and n in told})
        return found

    def __init__(
        self,
        stage_shapes: Optional[Mapping[str, Shape]] = None,
        student_dim: Optional[int] = None,
        teacher_dim: Optional[int] = None,
        num_classes: Optional[int] = None,
        stages: Sequence[int] = STAGES,
        eps: Union[float, Sequence[float]] = (1.0,),
        tau: float = 1.0,
        stages_weight: float = 1.0,
        logits_weight: float = 1.0,
        task_weight: float = 1.0,
    ) -> None:
        super().__init__()
        given = dict(stage_shapes=stage_shapes, student_dim=student_dim, teacher_dim=teacher_dim)
        for name, value in dict(given, num_classes=num_classes).items():
            if value is None:
                raise ValueError(f"ofakd.{name} is missing, and the models did not tell it. Add it")
        options: Dict[str, Any] = dict(given, num_classes=num_classes, stages=stages, eps=eps)
        options.update(tau=tau, stages_weight=stages_weight)
        options.update(logits_weight=logits_weight, task_weight=task_weight)
        self.check_options(options, "ofakd")
        assert stage_shapes is not None and student_dim is not None  # as said above
        assert teacher_dim is not None and num_classes is not None
        self.stages, self.tau = tuple(stages), float(tau)
        self.eps = exponents(eps, len(self.stages), "ofakd.eps")
        self.stages_weight, self.logits_weight = stages_weight, logits_weight
        self.task_scale = task_weight
        self.teacher_dim, self.num_classes = teacher_dim, num_classes
        self.parts: Dict[str, Tensor] = {}
        width = max(student_dim, teacher_dim)
        self.branches = nn.ModuleDict()
        for stage in self.stages:
            shape, key = _shape(stage_shapes, stage, "ofakd"), f"ofakd.stage_shapes.stage{stage}"
            made = branch(shape, stage, student_dim, width, num_classes, key)
            self.branches[f"stage{stage}"] = made

    # ----------------------------------------------------------------- checks before training
    def check_models(self, step: Step, key: str) -> None:
        """Whether the teacher's classifier sees ``teacher_dim`` channels.

        Raises:
            ValueError: it sees others; says both.
        """
        path = step.paths[1]["logits"] if isinstance(step.paths[1], Mapping) else ""
        layer = dict(step.teacher.named_modules()).get(path) if step.teacher is not None else None
        if isinstance(layer, nn.Linear) and layer.in_features != self.teacher_dim:
            raise ValueError(
                f"{key}.teacher_dim={self.teacher_dim}: the teacher's classifier, {path!r}, sees "
                f"{layer.in_features} channels. Set teacher_dim={layer.in_features}"
            )

    def check_taps(
        self,
        student: Mapping[str, Any],
        teacher: Mapping[str, Any],
        step: Optional[Step] = None,
        key: str = "ofakd",
    ) -> Dict[str, Tensor]:
        """The student's stages that have a branch, and both logits as ``student``, ``teacher``.

        Raises:
            FeatureError: a tap is missing, or gives something else than the branch is made for.
        """
        _check_named(student, self.stages, f"{key}.module (student)")
        check_named_taps(f"{key}.module (teacher)", teacher, ["logits"], [*TAPS])
        (own,), (theirs,) = check_logits([student["logits"]], [teacher["logits"]], key)
        if own.shape[1] != self.num_classes:
            raise ValueError(
                f"{key}.num_classes={self.num_classes}: the logits are of {own.shape[1]} classes. "
                "Correct the number"
            )
        found = dict(student=own, teacher=theirs)
        for name, layers in self.branches.items():
            assert isinstance(layers, (MapBranch, TokenBranch))
            found[name] = stage_output(student[name], f"{key}.module.{name}")
            layers.check(found[name].shape, f"{key}.stage_shapes.{name}")
        return found

    # ----------------------------------------------------------------- a step
    def forward(self, student: Mapping[str, Any], teacher: Mapping[str, Any], step: Step) -> Tensor:
        """A scalar, weights included; in float32 at least, also under autocast.

        Args:
            student: what the taps stage1, ... and logits gave.
            teacher: ``logits`` (N, K); no gradient flows into them.
            step: of this training step: its labels. Of a soft label the likeliest class counts.

        Raises:
            ValueError: as :meth:`check_taps`, or no labels.
        """
        feats = self.check_taps(student, teacher)
        own, theirs = feats["student"], feats["teacher"]
        labels = hard_labels(labels_in(step, "ofakd"), own.shape, "ofakd")
        with torch.autocast(device_type=own.device.type, enabled=False):
            terms = dict(logits=self.logits_weight * self._term(own, theirs, labels, -1))
            for i, (name, logits) in enumerate(self.stage_logits(feats).items()):
                terms[name] = self.stages_weight * self._term(logits, theirs, labels, i)
            self.parts = {name: term.detach() for name, term in terms.items()}
            return torch.stack([*terms.values()]).sum()

    def stage_logits(self, feats: Mapping[str, Tensor]) -> Dict[str, Tensor]:
        """What each branch makes of its stage: logits (N, K) by name."""
        wide = wide_dtype(next(self.parameters())) if len(self.branches) else torch.float32
        return {name: layers(feats[name].to(wide)) for name, layers in self.branches.items()}

    def _term(self, student: Tensor, teacher: Tensor, labels: Tensor, number: int) -> Tensor:
        return ofa_loss(student, teacher, labels, self.eps[number], self.tau)

    def extra_repr(self) -> str:
        weights = f"stages_weight={self.stages_weight:g}, logits_weight={self.logits_weight:g}"
        return f"eps={self.eps}, tau={self.tau:g}, {weights}"


def exponents(value: Any, count: int, key: str) -> Tuple[float, ...]:
    """eps of each of ``count`` stages, and of the logits.

    Raises:
        ValueError: neither a number of at least 1 nor so many of them; names the key.

    >>> exponents(1.5, 2, "eps")
    (1.5, 1.5, 1.5)
    """
    given: List[Any] = list(value) if isinstance(value, (list, tuple)) else [value]
    for one in given:
        if not isinstance(one, (int, float)) or isinstance(one, bool) or not 1 <= one <= 100:
            raise ValueError(
                f"{key} must be a number from 1 to 100, or a list of such, got {one!r}"
            )
    given = given * (count + 1) if len(given) == 1 else given
    if len(given) != count + 1:
        raise ValueError(
            f"{key} must be one number, or {count + 1}: one for each of {count} stages and one for "
            f"the logits, the last; got {len(given)}, {value!r}"
        )
    return tuple(float(one) for one in given)


def _check_named(given: Mapping[str, Any], stages: Sequence[int], key: str) -> None:
    """Raise FeatureError unless the logits and the stages that have a branch are tapped."""
    wanted = ["logits", *(f"stage{i}" for i in stages)]
    check_named_taps(key, given, wanted, [*TAPS], ", or choose other stages")


def _at(model: Any, *names: str) -> Any:
    """A value deep in a config; None where there is none."""
    for name in names:
        model = model.get(name) if isinstance(model, Mapping) else None
    return model


def _are_stages(value: Any) -> bool:
    if not isinstance(value, (list, tuple)):
        return False
    known = all(type(one) is int and one in STAGES for one in value)
    return known and len(set(value)) == len(value)


def _shape(shapes: Any, stage: int, key: str) -> Tuple[int, ...]:
    """(C,), (C, H, W) or (L, C)."""
    name = f"stage{stage}"
    given = shapes.get(name) if isinstance(shapes, Mapping) else None
    shape: List[Any] = list(given) if isinstance(given, (list, tuple)) else [given]
    if not 1 <= len(shape) <= 3 or not all(type(n) is int and n > 0 for n in shape):
        raise ValueError(
            f"{key}.stage_shapes must be a dict that gives the channels of maps, or (tokens, "
            f"channels), of {name}, such as {name}=64; got {given!r}"
        )
    return tuple(shape)


# --------------------------------------------------------------------------- reference numbers
def golden(case: Case) -> Outcome:
    """The loss alone, or the branches of the stages that the file has."""
    options, inputs = case.options, case.inputs
    if "stages" not in options:
        labels = hard_labels(inputs["label"], inputs["student"].shape, "ofakd")
        settings = options["eps"], options["temperature"]
        return Outcome(dict(loss=ofa_loss(inputs["student"], inputs["teacher"], labels, *settings)))
    stages = tuple(options["stages"])
    shapes = {f"stage{i}": inputs[f"student_stage{i}"].shape[1:] for i in stages}
    loss = OFAKDLoss(
        stage_shapes={name: tuple(shape) for name, shape in shapes.items()},
        student_dim=options["feature_dim_student"],
        teacher_dim=options["feature_dim_teacher"],
        num_classes=options["num_classes"],
        stages=stages,
        eps=options["eps"],
        tau=options["temperature"],
        stages_weight=options["loss_weight_stages"],
        logits_weight=options["loss_weight_logits"],
    ).to(inputs["student"].dtype)
    for layers in loss.branches.values():
        tokens = getattr(layers, "extra", 0)
        assert tokens == options["num_tokens"]
    parameters = {}
    for name, value in loss.branches.state_dict(keep_vars=True).items():
        if not name.endswith("num_batches_tracked"):
            short = re.sub(r"(block|merge)s\.(\d)", r"\1\2", name).replace(".", "_")
            value.data.copy_(case.parameters[short])
            if isinstance(value, nn.Parameter):
                parameters[short] = value
    student = {f"stage{i}": inputs[f"student_stage{i}"] for i in stages}
    taps = dict(student, logits=inputs["student"]), dict(logits=inputs["teacher"])
    step = Step(dict(gt_label=inputs["label"]), nn.Identity())
    # BatchNorm's statistics are of the batch, so that a second pass changes nothing
    outputs = {f"{name}_logits": out for name, out in loss.stage_logits(student).items()}
    outputs["loss"] = loss(*taps, step)
    outputs["loss_logits"] = loss.parts["logits"]
    stage_terms = [part for name, part in loss.parts.items() if name != "logits"]
    outputs["loss_stages"] = torch.stack(stage_terms).sum()
    return Outcome(outputs, parameters)


def _hint(loss: OFAKDLoss) -> str:
    """The authors' settings and their advice."""
    return (
        "the authors' runs: stages_weight=1 and eps=1.5 on ImageNet, 0.1 and 1 on CIFAR-100; if "
        "training is unstable, a smaller logits_weight or eps"
    )


CARD = Card(
    name="ofakd",
    title="OFA-KD",
    summary="The teacher's class probabilities for each stage of a student of any family.",
    module=OFAKDLoss,
    paper="One-for-All: Bridge the Gap Between Heterogeneous Architectures in Knowledge "
    "Distillation, NeurIPS 2023, https://arxiv.org/abs/2310.19444",
    tasks=("cls",),
    taps=dict(
        cls=dict(
            student=dict(TAPS, logits="logits"), teacher=dict.fromkeys([*TAPS, "logits"], "logits")
        )
    ),
    needs=("labels",),
    maps=False,
    weight="stages_weight",
    hint=_hint,
    bundled=dict(
        cls=dict(ofakd=Bundled("configs/ofakd/resnet34_resnet18_digits_cls.py", "OFA-KD", "OFA-KD"))
    ),
    golden=golden,
)
