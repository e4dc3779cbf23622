"""``DKDLoss``: knowledge distillation in two parts, of the label's class and of the others.

With a = p^tau(s)_y and b = p^tau(t)_y, the probabilities of an image's label y, and q(z) the
softmax of z / tau over the classes that are not y:

    TCKD = tau^2 mean_n [ b ln(b / a) + (1 - b) ln((1 - b) / (1 - a)) ]
    NCKD = tau^2 mean_n sum_{k != y} q_k(t) ( ln q_k(t) - ln q_k(s) )
    L = alpha TCKD + beta NCKD

For each image, tau^2 KL(p^tau(t), p^tau(s)) is its TCKD plus (1 - b) times its NCKD: what the
teacher is sure of would teach little of the other classes, which beta undoes.
"""

from typing import Any, Mapping, Tuple

import torch
from torch import Tensor, nn

from freekd.checks import check_temperature, check_weight
from freekd.widen import widened

from .card import Bundled, Card, Case, Outcome
from .logits import (
    LabelledLogitsLoss,
    at_label,
    log_of_rest,
    log_softmax_of_rest,
    softmax_of_rest,
)
from .step import Step


def dkd_terms(
    student_logits: Tensor, teacher_logits: Tensor, labels: Tensor, tau: float
) -> Tuple[Tensor, Tensor]:
    """Both parts of the equation above for each image, before the mean.

    Args:
        student_logits: (N, K) before the softmax, K at least 2.
        teacher_logits: (N, K); a constant, no gradient flows into it.
        labels: (N,), the class of each image.
        tau: temperature, above 0.

    Returns:
        TCKD and NCKD, (N,) each, tau^2 included; in float32 at least.

    >>> logits = torch.tensor([[2.0, 1.0, 0.0]])
    >>> shifted = torch.tensor([[5.0, 1.0, 0.0]])  # the label's alone is another
    >>> target, others = dkd_terms(shifted, logits, torch.tensor([0]), tau=1.0)
    >>> round(float(target), 4), float(others)
    (0.6214, 0.0)
    """
    student, teacher = widened(student_logits) / tau, widened(teacher_logits.detach()) / tau
    log_p, log_t = torch.log_softmax(student, dim=1), torch.log_softmax(teacher, dim=1)
    log_a, log_b = at_label(log_p, labels), at_label(log_t, labels)
    rest_a, rest_b = log_of_rest(log_p, labels), log_of_rest(log_t, labels)
    target = log_b.exp() * (log_b - log_a) + rest_b.exp() * (rest_b - rest_a)
    apart = log_softmax_of_rest(teacher, labels) - log_softmax_of_rest(student, labels)
    others = (softmax_of_rest(teacher, labels) * apart).sum(dim=1)
    return tau**2 * target, tau**2 * others


class DKDLoss(LabelledLogitsLoss):
    """Decoupled knowledge distillation, see :func:`dkd_terms`.

    Args:
        tau: temperature, at least 0.001.
        alpha: weight of the part of the label's class.
        beta: weight of the part of the other classes.
        loss_weight: of both together.

    Raises:
        ValueError: a value out of range; names the config key.
    """

    method = "dkd"

    @staticmethod
    def check_options(options: Mapping[str, Any], key: str) -> None:
        """What a config says, by its config keys; raises ValueError."""
        if "tau" in options:
            check_temperature(f"{key}.tau", options["tau"])
        for name in ("alpha", "beta", "loss_weight"):
            if name in options:
                check_weight(f"{key}.{name}", options[name])

    def __init__(
        self, tau: float = 4.0, alpha: float = 1.0, beta: float = 6.0, loss_weight: float = 1.0
    ) -> None:
        super().__init__()
        given = dict(tau=tau, alpha=alpha, beta=beta, loss_weight=loss_weight)
        self.check_options(given, self.method)
        self.tau = float(tau)
        self.alpha = float(alpha)
        self.beta = float(beta)
        self.loss_weight = loss_weight

    def value(self, student: Tensor, teacher: Tensor, labels: Tensor) -> Tensor:
        """L of the equation."""
        target, others = dkd_terms(student, teacher, labels, self.tau)
        return self.loss_weight * (self.alpha * target.mean() + self.beta * others.mean())

    def extra_repr(self) -> str:
        return (
            f"tau={self.tau:g}, alpha={self.alpha:g}, beta={self.beta:g}, "
            f"loss_weight={self.loss_weight:g}"
        )


def golden(case: Case) -> Outcome:
    """The reference's numbers, see :class:`freekd.losses.card.Case`."""
    options = case.options
    loss = DKDLoss(tau=options["temp"], alpha=options["alpha"], beta=options["beta"])
    step = Step(dict(gt_label=case.inputs["label"]), nn.Identity())
    return Outcome(dict(loss=loss(case.inputs["student"], case.inputs["teacher"], step)))


def _hint(loss: DKDLoss) -> str:
    """The settings of the reference's configs."""
    return (
        "the reference's configs: tau=1, alpha=1, beta=0.5 on ImageNet; tau=4, alpha=1, beta=8 on "
        "CIFAR-100, where the term is several times the task loss"
    )


CARD = Card(
    name="dkd",
    title="DKD",
    summary="Class logits in two parts, weighted apart: the label's class, and all others.",
    module=DKDLoss,
    paper="Decoupled Knowledge Distillation, CVPR 2022, https://arxiv.org/abs/2203.08679",
    tasks=("cls",),
    taps=dict(cls="logits"),
    needs=("labels",),
    maps=False,
    hint=_hint,
    bundled=dict(
        cls=dict(dkd=Bundled("configs/dkd/resnet34_resnet18_digits_cls.py", "DKD", "DKD"))
    ),
    golden=golden,
)
