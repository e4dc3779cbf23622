"""``KDLoss``: the teacher's class probabilities as soft labels (Hinton et al.).

L_KD = alpha tau^2 mean_n( - sum_k p^tau(t)_k log p^tau(s)_k ), beside (1 - alpha) L_task, with
p^tau(z) = softmax(z / tau) over the classes. It is the soft cross entropy, which is tau^2 KL plus
the teacher's entropy and has the same gradient.
"""

from typing import Any, Mapping

import torch
from torch import Tensor

from freekd.checks import check_share, check_temperature
from freekd.widen import widened

from .card import Bundled, Card, Case, Outcome
from .logits import LogitsLoss, soft_cross_entropy


def kd_loss(student_logits: Tensor, teacher_logits: Tensor, tau: float, alpha: float) -> Tensor:
    """The equation above.

    Args:
        student_logits: (N, K) before the softmax.
        teacher_logits: (N, K); a constant, no gradient flows into it.
        tau: temperature, above 0.
        alpha: its weight; the student's own loss is to be scaled by 1 - alpha.

    Returns:
        A scalar, in float32 at least.

    >>> kd_loss(torch.zeros(2, 4), torch.zeros(2, 4), tau=1.0, alpha=1.0)  # log 4
    tensor(1.3863)
    """
    student, teacher = widened(student_logits), widened(teacher_logits)
    return alpha * tau**2 * soft_cross_entropy(student, teacher, tau).mean()


class KDLoss(LogitsLoss):
    """Knowledge distillation by class logits, see :func:`kd_loss`.

    Args:
        tau: temperature, at least 0.001; the larger, the more the classes that are not the label
            count.
        alpha: weight of the term, 0 to 1. The student's own losses are multiplied by 1 - alpha,
            see :attr:`task_scale`.

    Raises:
        ValueError: a value out of range; names the config key.

    Example:
        >>> loss = KDLoss(tau=4.0, alpha=0.9)
        >>> round(loss.task_scale, 6)
        0.1
    """

    method = "kd"

    @staticmethod
    def check_options(options: Mapping[str, Any], key: str) -> None:
        """What a config says, by its config keys; raises ValueError."""
        if "tau" in options:
            check_temperature(f"{key}.tau", options["tau"])
        if "alpha" in options:
            why = "as the student's own loss is multiplied by 1 - alpha"
            check_share(f"{key}.alpha", options["alpha"], why)

    def __init__(self, tau: float = 4.0, alpha: float = 0.5) -> None:
        super().__init__()
        self.check_options(dict(tau=tau, alpha=alpha), self.method)
        self.tau = float(tau)
        self.alpha = float(alpha)

    @property
    def task_scale(self) -> float:
        """What the student's own losses are to be multiplied by: 1 - alpha."""
        return 1.0 - self.alpha

    def forward(self, student: Tensor, teacher: Tensor) -> Tensor:
        """A scalar, ``alpha`` included; in float32 at least, also under autocast.

        Args:
            student, teacher: class logits (N, K), of the same classes.

        Raises:
            FeatureError: they are no such logits; says both shapes.
        """
        self.check_feats([student], [teacher])
        with torch.autocast(device_type=student.device.type, enabled=False):
            return kd_loss(student, teacher, self.tau, self.alpha)

    def extra_repr(self) -> str:
        return f"tau={self.tau:g}, alpha={self.alpha:g}"


def golden(case: Case) -> Outcome:
    """The reference's numbers, see :class:`freekd.losses.card.Case`."""
    loss = KDLoss(tau=case.options["temp"], alpha=case.options["alpha"])
    value = loss(case.inputs["student"], case.inputs["teacher"])
    return Outcome(dict(loss=value, task_loss_scale=loss.task_scale))


CARD = Card(
    name="kd",
    title="KD",
    summary="Class probabilities at a temperature: the teacher's as soft labels.",
    module=KDLoss,
    paper="Distilling the Knowledge in a Neural Network, 2015, https://arxiv.org/abs/1503.02531",
    tasks=("cls",),
    taps=dict(cls="logits"),
    maps=False,
    weight="alpha",
    bundled=dict(cls=dict(kd=Bundled("configs/kd/resnet34_resnet18_digits_cls.py", "KD", "KD"))),
    golden=golden,
)
