"""``SRRLLoss``: the student's pooled features, and their logits by the teacher's own classifier.

With A = ReLU(BN(W S)) the student's last map in the teacher's channels, a and t the spatial means
of A and of the teacher's last map, and (V, b) the teacher's frozen classifier:

    L = alpha mean_{n,c} (a - t)^2 + beta mean_{n,k} ( (V a + b) - (V t + b) )^2

The second part counts a difference by what it means for the teacher's classes. Its gradient flows
through V to the student; V and b stay as they are.
"""

import math
from typing import Any, List, Mapping, NamedTuple, Optional, Tuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from freekd.checks import check_channels, check_integer, check_weight
from freekd.prompts.spec import expand_channels
from freekd.widen import widened

from .align import Feats, check_levels
from .card import Bundled, Card, Case, Outcome
from .levels import Channels
from .step import Step


class SRRLTerms(NamedTuple):
    """Both parts of the equation, unweighted, and the logits that the second one compares."""

    features: Tensor
    logits: Tensor
    student_logits: Tensor  # (N, K)
    teacher_logits: Tensor


def srrl_terms(
    student: Tensor, teacher: Tensor, weight: Tensor, bias: Optional[Tensor] = None
) -> SRRLTerms:
    """The equation above, before the weights.

    Args:
        student: (N, C, h, w), A of the equation.
        teacher: (N, C, H, W); a constant, no gradient flows into it.
        weight: (K, C), V; a constant.
        bias: (K,), b; a constant; None: 0.

    >>> ones = torch.ones(1, 2, 3, 3)
    >>> terms = srrl_terms(2 * ones, ones, torch.tensor([[3.0, 0.0]]))
    >>> float(terms.features), float(terms.logits)  # (2 - 1)^2, (3 * 2 - 3 * 1)^2
    (1.0, 9.0)
    """
    ours, theirs = student.mean(dim=(2, 3)), teacher.detach().mean(dim=(2, 3))
    fixed = weight.detach().to(ours.dtype)
    shift = None if bias is None else bias.detach().to(ours.dtype)
    logits = F.linear(ours, fixed, shift), F.linear(theirs, fixed, shift)
    return SRRLTerms(F.mse_loss(ours, theirs), F.mse_loss(*logits), *logits)


class SRRLLoss(nn.Module):
    """Softmax regression representation learning, see :func:`srrl_terms`.

    The connector (1x1 convolution without bias, BatchNorm, ReLU) learns with the student, and is no
    part of it after training. Where the taps give several maps, the last ones count. The teacher
    must be a classifier whose logits are a linear layer on the spatial mean of its last map.

    Args:
        student_channels, teacher_channels: channels of the tapped maps: one number for all, or one
            for each.
        num_levels: how many maps the taps give; 1 for a backbone with one output.
        alpha: weight of the features' part.
        beta: weight of the logits' part.
        loss_weight: of both together.

    Raises:
        ValueError: a value of another kind; names the config key.
    """

    takes_levels = True
    widens = True

    @staticmethod
    def check_options(options: Mapping[str, Any], key: str) -> None:
        """What a config says, by its config keys; raises ValueError."""
        for name in ("alpha", "beta", "loss_weight"):
            if name in options:
                check_weight(f"{key}.{name}", options[name])

    def __init__(
        self,
        student_channels: Channels,
        teacher_channels: Channels,
        num_levels: int = 1,
        alpha: float = 1.0,
        beta: float = 5.0,
        loss_weight: float = 1.0,
    ) -> None:
        super().__init__()
        check_channels("student_channels", student_channels)
        check_channels("teacher_channels", teacher_channels)
        check_integer("num_levels", num_levels, 64)
        self.check_options(dict(alpha=alpha, beta=beta, loss_weight=loss_weight), "srrl")
        self.student_channels = expand_channels(student_channels, num_levels, "student_channels")
        self.teacher_channels = expand_channels(teacher_channels, num_levels, "teacher_channels")
        self.alpha = float(alpha)
        self.beta = float(beta)
        self.loss_weight = loss_weight
        channels = self.teacher_channels[-1]
        conv = nn.Conv2d(self.student_channels[-1], channels, 1, bias=False)
        nn.init.normal_(conv.weight, std=math.sqrt(2 / channels))
        self.connector = nn.Sequential(conv, nn.BatchNorm2d(channels), nn.ReLU(inplace=True))
        self.classifier_path: Optional[str] = None  # in the teacher; the layer itself is not kept

    def check_models(self, step: Step, key: str) -> None:
        """Before training: the teacher has a linear classifier of the tapped map's channels.

        Args:
            step: without a batch.
            key: the config key of the entry.

        Raises:
            ValueError: there is no teacher, or it has no such classifier; says what there is.
        """
        if step.teacher is None:
            raise ValueError(
                f"{key}: SRRL needs a teacher's classifier, and the pair has no teacher. Give "
                "pair.teacher, or remove the entry"
            )
        path = step.task.mean_classifier(step.teacher, key)
        width = step.teacher.get_submodule(path).in_features
        if width != self.teacher_channels[-1]:
            raise ValueError(
                f"{key}: the teacher's classifier {path!r} takes {width} channels, the tapped map "
                f"of the teacher ({step.paths[1]!r}) has {self.teacher_channels[-1]}. Tap the "
                "last map before it, such as module='backbone'"
            )
        self.classifier_path = path

    def classifier(self, step: Step) -> Tuple[Tensor, Optional[Tensor]]:
        """V (K, C) and b (K,), or None for b, as they stand in the teacher."""
        assert step.teacher is not None
        path = self.classifier_path or step.task.mean_classifier(step.teacher, "srrl")
        layer: Any = step.teacher.get_submodule(path)
        return layer.weight, layer.bias

    def check_feats(self, student: Feats, teacher: Feats) -> Tuple[List[Tensor], List[Tensor]]:
        """The last maps, of the channels of the config.

        Raises:
            FeatureError: they have others; names both numbers and the key.
        """
        sides = (
            check_levels(student, self.student_channels, "student", "SRRLLoss"),
            check_levels(teacher, self.teacher_channels, "teacher", "SRRLLoss"),
        )
        return sides[0][-1:], sides[1][-1:]

    def terms(self, student: Feats, teacher: Feats, step: Step) -> SRRLTerms:
        """Both parts of the equation, see :meth:`forward` for the arguments."""
        (ours,), (theirs,) = self.check_feats(student, teacher)
        with torch.autocast(device_type=ours.device.type, enabled=False):
            wide = self.connector[0].weight.dtype
            aligned = self.connector(widened(ours).to(wide))  # type: ignore[arg-type]
            return srrl_terms(aligned, widened(theirs).to(aligned.dtype), *self.classifier(step))

    def forward(self, student: Feats, teacher: Feats, step: Step) -> Tensor:
        """A scalar, weights included; float32 also under autocast.

        Args:
            student: (N, C_s, h, w), or a tuple of maps, the last of which counts.
            teacher: (N, C, H, W), likewise. No gradient flows into it.
            step: of this training step: its teacher's classifier.

        Raises:
            FeatureError: maps of other channels than the config's.
        """
        terms = self.terms(student, teacher, step)
        return self.loss_weight * (self.alpha * terms.features + self.beta * terms.logits)

    def extra_repr(self) -> str:
        return f"alpha={self.alpha:g}, beta={self.beta:g}, loss_weight={self.loss_weight:g}"


def golden(case: Case) -> Outcome:
    """The reference's numbers, see :class:`freekd.losses.card.Case`."""
    given, options = case.inputs, case.options
    loss = SRRLLoss(
        int(options["student_channels"]),
        int(options["teacher_channels"]),
        alpha=options["alpha"],
        beta=options["beta"],
    ).to(given["student"].dtype)
    conv, norm, _ = loss.connector
    inner: Any = dict(
        connector_conv_weight=conv.weight,
        connector_bn_weight=norm.weight,
        connector_bn_bias=norm.bias,
        connector_bn_running_mean=norm.running_mean,
        connector_bn_running_var=norm.running_var,
    )
    with torch.no_grad():
        for name, value in case.parameters.items():
            inner[name].copy_(value)
    fixed = given["teacher_fc_weight"], given["teacher_fc_bias"]
    loss.classifier = lambda step: fixed  # type: ignore[method-assign]
    terms = loss.terms(given["student"], given["teacher"], Step({}, nn.Identity()))
    outputs = dict(
        loss=loss.alpha * terms.features + loss.beta * terms.logits,
        student_logits_through_teacher_head=terms.student_logits,
        teacher_logits=terms.teacher_logits,
    )
    return Outcome(outputs, inner)


def _hint(loss: SRRLLoss) -> str:
    """The settings of the reference's configs."""
    return "the reference's configs: alpha=1, beta=1 on ImageNet; alpha=1, beta=5 on CIFAR-100"


CARD = Card(
    name="srrl",
    title="SRRL",
    summary="The mean of the last map, and its logits by the teacher's own frozen classifier.",
    module=SRRLLoss,
    paper="Knowledge Distillation via Softmax Regression Representation Learning, ICLR 2021, "
    "https://openreview.net/forum?id=ZzwDy_wiWv",
    tasks=("cls",),
    taps=dict(cls="backbone"),
    needs=("the teacher's classifier",),
    hint=_hint,
    bundled=dict(
        cls=dict(srrl=Bundled("configs/srrl/resnet34_resnet18_digits_cls.py", "SRRL", "SRRL"))
    ),
    golden=golden,
)
