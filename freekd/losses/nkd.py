"""``NKDLoss``: the teacher's probability of the label, and its softmax over the other classes.

With y an image's label, p(z) the softmax over all classes, and q(z) that of z / tau over the
classes that are not y:

    L = mean_n( - p(t)_y ln p(s)_y ) + gamma tau^2 mean_n( - sum_{k != y} q_k(t) ln q_k(s) )

As both q sum to 1, the second part can be learned to the end, whatever the first one says.
"""

from typing import Any, Mapping

import torch
from torch import Tensor, nn

from freekd.checks import check_temperature, check_weight
from freekd.widen import widened

from .card import Bundled, Card, Case, Outcome, Published
from .logits import LabelledLogitsLoss, at_label, log_softmax_of_rest, softmax_of_rest
from .step import Step


def nkd_loss(
    student_logits: Tensor, teacher_logits: Tensor, labels: Tensor, tau: float, gamma: float
) -> Tensor:
    """The equation above.

    Args:
        student_logits: (N, K) before the softmax, K at least 2.
        teacher_logits: (N, K); a constant, no gradient flows into it.
        labels: (N,), the class of each image.
        tau: temperature of the second part, above 0.
        gamma: weight of the second part.

    Returns:
        A scalar, in float32 at least.

    >>> zeros = torch.zeros(1, 3)  # 1/3 log 3 + 2 log 2
    >>> nkd_loss(zeros, zeros, torch.tensor([0]), tau=1.0, gamma=2.0)
    tensor(1.7525)
    """
    student, teacher = widened(student_logits), widened(teacher_logits.detach())
    of_label = at_label(torch.softmax(teacher, dim=1), labels)
    target = -of_label * at_label(torch.log_softmax(student, dim=1), labels)
    q, log_q = softmax_of_rest(teacher / tau, labels), log_softmax_of_rest(student / tau, labels)
    return target.mean() - gamma * tau**2 * (q * log_q).sum(dim=1).mean()


class NKDLoss(LabelledLogitsLoss):
    """Normalised knowledge distillation, see :func:`nkd_loss`.

    Args:
        tau: temperature of the other classes' softmax, at least 0.001.
        gamma: weight of the other classes' part.
        loss_weight: of both parts together.

    Raises:
        ValueError: a value out of range; names the config key.
    """

    method = "nkd"

    @staticmethod
    def check_options(options: Mapping[str, Any], key: str) -> None:
        """What a config says, by its config keys; raises ValueError."""
        if "tau" in options:
            check_temperature(f"{key}.tau", options["tau"])
        for name in ("gamma", "loss_weight"):
            if name in options:
                check_weight(f"{key}.{name}", options[name])

    def __init__(self, tau: float = 1.0, gamma: float = 1.5, loss_weight: float = 1.0) -> None:
        super().__init__()
        self.check_options(dict(tau=tau, gamma=gamma, loss_weight=loss_weight), self.method)
        self.tau = float(tau)
        self.gamma = float(gamma)
        self.loss_weight = loss_weight

    def value(self, student: Tensor, teacher: Tensor, labels: Tensor) -> Tensor:
        """:func:`nkd_loss`."""
        return self.loss_weight * nkd_loss(student, teacher, labels, self.tau, self.gamma)

    def extra_repr(self) -> str:
        return f"tau={self.tau:g}, gamma={self.gamma:g}, loss_weight={self.loss_weight:g}"


def golden(case: Case) -> Outcome:
    """The reference's numbers, see :class:`freekd.losses.card.Case`."""
    loss = NKDLoss(tau=case.options["temp"], gamma=case.options["gamma"])
    labels = case.inputs["label"]
    assert case.options["label_kind"] == ("soft" if labels.dim() == 2 else "hard")
    step = Step(dict(gt_label=labels), nn.Identity())
    return Outcome(dict(loss=loss(case.inputs["student"], case.inputs["teacher"], step)))


def _hint(loss: NKDLoss) -> str:
    """The settings of the reference's configs."""
    return (
        "the reference's configs: tau=1 on ImageNet with gamma=1.5 for CNNs and 1 for ViTs; "
        "tau=3, gamma=3.5 on CIFAR-100"
    )


_SOURCE = "the authors' repository, https://github.com/yzd-v/cls_KD"

CARD = Card(
    name="nkd",
    title="NKD",
    summary="The label's probability, and the other classes' softmax, normalised apart from it.",
    module=NKDLoss,
    paper="From Knowledge Distillation to Self-Knowledge Distillation: A Unified Approach with "
    "Normalized Loss and Customized Soft Labels, ICCV 2023, https://arxiv.org/abs/2303.13005",
    tasks=("cls",),
    taps=dict(cls="logits"),
    needs=("labels",),
    maps=False,
    hint=_hint,
    bundled=dict(
        cls=dict(nkd=Bundled("configs/nkd/resnet34_resnet18_digits_cls.py", "NKD", "NKD"))
    ),
    published=(
        Published("ResNet-34 -> ResNet-18", "ImageNet top-1", 69.90, 71.96, _SOURCE),
        Published("ResNet-50 -> MobileNetV1", "ImageNet top-1", 69.21, 72.58, _SOURCE),
        Published("DeiT-III-S -> DeiT-T", "ImageNet top-1", 74.42, 76.68, _SOURCE),
        Published("DeiT-III-L -> DeiT-B", "ImageNet top-1", 81.76, 84.96, _SOURCE),
    ),
    golden=golden,
)
