"""``WSLDLoss``: soft labels weighted image by image, by who of both models knows its label better.

With c(z) = -ln p(z)_y, the cross entropy of an image's label y at temperature 1, both constants to
the gradient:

    rho = c(s) / (c(t) + 1e-7),    omega = 1 - exp(-rho)
    L = alpha tau^2 mean_n omega_n ( - sum_k p^tau(t)_k ln p^tau(s)_k )

An image that the student knows better than the teacher (rho small) counts little.
"""

from typing import Any, Mapping

import torch
from torch import Tensor, nn

from freekd.checks import check_temperature, check_weight
from freekd.widen import widened

from .card import Bundled, Card, Case, Outcome
from .logits import LabelledLogitsLoss, at_label, soft_cross_entropy
from .step import Step

EPS = 1e-7


@torch.no_grad()
def wsld_weights(student_logits: Tensor, teacher_logits: Tensor, labels: Tensor) -> Tensor:
    """omega of each image, from 0 to 1.

    Args:
        student_logits, teacher_logits: (N, K) before the softmax. No gradient flows through omega.
        labels: (N,), the class of each image.

    >>> logits = torch.tensor([[1.0, 0.0], [0.0, 0.0]])  # alike: 1 - 1/e
    >>> wsld_weights(logits, logits, torch.tensor([0, 1]))
    tensor([0.6321, 0.6321])
    """
    logits = (widened(student_logits), widened(teacher_logits))
    ours, theirs = (-at_label(torch.log_softmax(z, dim=1), labels) for z in logits)
    return -torch.expm1(-(ours / (theirs + EPS)).clamp(min=0))


def wsld_loss(
    student_logits: Tensor, teacher_logits: Tensor, labels: Tensor, tau: float, alpha: float
) -> Tensor:
    """The equation above.

    Args:
        student_logits: (N, K) before the softmax.
        teacher_logits: (N, K); a constant, no gradient flows into it.
        labels: (N,), the class of each image.
        tau: temperature, above 0.
        alpha: its weight.

    Returns:
        A scalar, in float32 at least.

    >>> zeros = torch.zeros(2, 4)
    >>> wsld_loss(zeros, zeros, torch.tensor([0, 3]), tau=1.0, alpha=1.0)  # (1 - 1/e) log 4
    tensor(0.8763)
    """
    student, teacher = widened(student_logits), widened(teacher_logits)
    each = soft_cross_entropy(student, teacher, tau)
    return alpha * tau**2 * (wsld_weights(student, teacher, labels) * each).mean()


class WSLDLoss(LabelledLogitsLoss):
    """Weighted soft label distillation, see :func:`wsld_loss`.

    Args:
        tau: temperature of the soft labels, at least 0.001.
        alpha: weight of the term.

    Raises:
        ValueError: a value out of range; names the config key.
    """

    method = "wsld"

    @staticmethod
    def check_options(options: Mapping[str, Any], key: str) -> None:
        """What a config says, by its config keys; raises ValueError."""
        if "tau" in options:
            check_temperature(f"{key}.tau", options["tau"])
        if "alpha" in options:
            check_weight(f"{key}.alpha", options["alpha"])

    def __init__(self, tau: float = 4.0, alpha: float = 2.25) -> None:
        super().__init__()
        self.check_options(dict(tau=tau, alpha=alpha), self.method)
        self.tau = float(tau)
        self.alpha = alpha

    def value(self, student: Tensor, teacher: Tensor, labels: Tensor) -> Tensor:
        """:func:`wsld_loss`."""
        return wsld_loss(student, teacher, labels, self.tau, self.alpha)

    def extra_repr(self) -> str:
        return f"tau={self.tau:g}, alpha={self.alpha:g}"


def golden(case: Case) -> Outcome:
    """The reference's numbers, see :class:`freekd.losses.card.Case`."""
    loss = WSLDLoss(tau=case.options["temp"], alpha=case.options["alpha"])
    step = Step(dict(gt_label=case.inputs["label"]), nn.Identity())
    student, teacher = case.inputs["student"], case.inputs["teacher"]
    assert student.shape[1] == case.options["num_classes"]
    return Outcome(dict(loss=loss(student, teacher, step)))


def _hint(loss: WSLDLoss) -> str:
    """The settings of the reference's configs."""
    return "the reference's configs: tau=2, alpha=2.5 on ImageNet; tau=4, alpha=2.25 on CIFAR-100"


CARD = Card(
    name="wsld",
    title="WSLD",
    summary="Soft labels, each image weighted by how well student and teacher know its label.",
    module=WSLDLoss,
    paper="Rethinking Soft Labels for Knowledge Distillation: A Bias-Variance Tradeoff "
    "Perspective, ICLR 2021, https://arxiv.org/abs/2102.00650",
    tasks=("cls",),
    taps=dict(cls="logits"),
    needs=("labels",),
    maps=False,
    weight="alpha",
    hint=_hint,
    bundled=dict(
        cls=dict(wsld=Bundled("configs/wsld/resnet34_resnet18_digits_cls.py", "WSLD", "WSLD"))
    ),
    golden=golden,
)
