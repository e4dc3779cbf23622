"""``USKDLoss``: a student that teaches itself by its own logits, without a teacher (Yang et al.).

With logits s, P = softmax(s), S = log P, labels y, and a mid-level vector m of the same network:

    L = alpha L_target + beta L_nontarget + L_weak
    L_target = mean_n( - sum_j pi_nj S_n,ij ),    pi_nj = P_n,ij^2 + v_nj - mean_n P_.,ij^2
    L_weak = mu mean_n( - sum_k e_nk log softmax(w)_nk ),    w = W m + b,  e = 0.9 y + 0.1 / K
    L_nontarget = mean_n( - sum_k z_nk log softmax(s without the targets)_nk )

The targets i_j are the label's class, with v = 1, or of a soft label the two largest classes, with
their shares v. z is Zipf's law: 1 / r for the class of rank r, made to sum to 1 over the classes
that are no targets. The rank is that of W_k / (1 - sum_j W_ij) + S_k / (1 - sum_j S_ij), W here
the weak head's probabilities. pi and z are constants to the gradient.
"""

from typing import Any, Dict, Mapping, NamedTuple, Tuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from freekd.checks import FeatureError, check_channels, check_choice, check_weight
from freekd.widen import widened

from .card import Bundled, Card, Case, Outcome, Published
from .logits import are_soft, labels_in
from .step import Step
from .tokens import image_vector

TAPS = ("logits", "middle")
RANKS = ("log_prob", "prob")
WEIGHTS = ("alpha", "beta", "mu", "loss_weight")
SMOOTHED = 0.1  # of the label for the weak head
_TINY = 1e-6


class Targets(NamedTuple):
    """What a label says.

    Args:
        classes: (N, J) the targets' classes: J = 1, or 2 of a soft label.
        shares: (N, J) v, of which 0 is no target at all.
        label: (N, K) the label itself, one-hot or soft.
        mask: (N, K) bool: the targets.
    """

    classes: Tensor
    shares: Tensor
    label: Tensor
    mask: Tensor


def targets_of(label: Tensor, logits: Tensor) -> Targets:
    """The targets of hard labels (N,), or of soft ones (N, K), for logits (N, K).

    A soft label whose second largest share is 0, such as of two mixed images of one class, has one
    target.

    Raises:
        FeatureError: labels of another kind, or for other images or classes.
    """
    classes, soft = logits.shape[1], are_soft(label, logits.shape, "uskd")
    whole = (label if soft else F.one_hot(label.long(), classes)).to(logits.dtype)
    shares, found = whole.topk(min(2, classes) if soft else 1, dim=1)
    mask = torch.zeros_like(whole, dtype=torch.bool).scatter(1, found, shares > 0)
    return Targets(found, shares, whole, mask)


def target_weights(probabilities: Tensor, targets: Targets) -> Tensor:
    """pi (N, J), detached; the mean is over the images, for each j."""
    square = probabilities.detach().gather(1, targets.classes).square()
    weights = square + targets.shares - square.mean(dim=0, keepdim=True)
    return torch.where(targets.shares > 0, weights, torch.zeros_like(weights))


def zipf_labels(scores: Tensor, weak: Tensor, mask: Tensor, zipf: Tensor) -> Tensor:
    """z (N, K), detached: 0 at the targets, else 1 / rank, with a sum of 1.

    Args:
        scores: (N, K) log probabilities of the head, or probabilities.
        weak: (N, K) probabilities of the weak head.
        mask: (N, K) the targets.
        zipf: (K,) 1, 1/2, 1/3, ...
    """
    total = torch.zeros_like(scores)
    for part in (weak.detach(), scores.detach()):
        total = total + part / (1 - (part * mask).sum(dim=1, keepdim=True) + _TINY)
    order = torch.sort(total, dim=1, descending=True, stable=True).indices
    weights = torch.zeros_like(total).scatter(1, order, zipf.to(total.dtype).expand_as(total))
    weights = weights.masked_fill(mask, 0)
    return weights / weights.sum(dim=1, keepdim=True).clamp(min=torch.finfo(total.dtype).tiny)


def cross_entropy_without(logits: Tensor, mask: Tensor, labels: Tensor) -> Tensor:
    """Mean cross entropy over the classes that are not masked.

    Where all of an image are masked it is 0.
    """
    left = logits.masked_fill(mask, torch.finfo(logits.dtype).min)
    log_probabilities = torch.log_softmax(left, dim=1).masked_fill(mask, 0)
    return -(labels * log_probabilities).sum(dim=1).mean()


class USKDLoss(nn.Module):
    """The equation of the module: target, non-target and weak head's loss.

    The weak head, a linear layer with torch's own initialisation, is trained with the student and
    is no part of it.

    Args:
        student_channels: of the tap ``logits``, the number of classes, and of ``middle``, the
            width of the vector.
        alpha, beta, mu: weights of the three parts. The paper: 1, 0.1, 0.005 for ImageNet; 0.1
            each for CIFAR-100 with a ResNet-18.
        rank_with: what of the head the rank is made of: ``log_prob``, as the reference's code has
            it, with which the published figures were made; ``prob``, as of the weak head.
        loss_weight: of the whole term.

    Raises:
        ValueError: an option out of range; names the config key.

    Example:
        >>> loss = USKDLoss(dict(logits=10, middle=64))
        >>> loss.weak_head
        Linear(in_features=64, out_features=10, bias=True)
    """

    takes_teacher = False  # it has none
    named_taps = True
    widens = True

    @staticmethod
    def check_options(options: Mapping[str, Any], key: str) -> None:
        """What a config says, by its config keys; raises ValueError."""
        for name in WEIGHTS:
            if name in options:
                check_weight(f"{key}.{name}", options[name])
        if "rank_with" in options:
            check_choice(f"{key}.rank_with", options["rank_with"], RANKS)

    def __init__(
        self,
        student_channels: Mapping[str, int],
        alpha: float = 1.0,
        beta: float = 0.1,
        mu: float = 0.005,
        rank_with: str = "log_prob",
        loss_weight: float = 1.0,
    ) -> None:
        super().__init__()
        options = dict(alpha=alpha, beta=beta, mu=mu, loss_weight=loss_weight, rank_with=rank_with)
        self.check_options(options, "uskd")
        if not isinstance(student_channels, Mapping) or set(student_channels) != set(TAPS):
            raise ValueError(
                "uskd.module: expected the taps logits and middle, module=dict(logits='head.fc', "
                f"middle='backbone.layer3'), got {student_channels!r}"
            )
        for name in TAPS:
            check_channels(f"uskd.student_channels.{name}", student_channels[name])
        self.num_classes = int(student_channels["logits"])
        self.alpha, self.beta, self.mu = float(alpha), float(beta), float(mu)
        self.rank_with, self.loss_weight = rank_with, float(loss_weight)
        self.weak_head = nn.Linear(int(student_channels["middle"]), self.num_classes)
        ranks = torch.arange(1, self.num_classes + 1, dtype=torch.float64)
        self.register_buffer("zipf", ranks.reciprocal(), persistent=False)

    def check_taps(self, student: Mapping[str, Any], teacher: Any, step: Step, key: str) -> None:
        """What the taps gave for a blank image, before training.

        Raises:
            FeatureError: no logits, or no vector of the weak head's width; names tap and numbers.
        """
        self._inputs(student, step, key)

    def _inputs(self, student: Mapping[str, Any], step: Step, key: str) -> Tuple[Tensor, Tensor]:
        """(N, K) logits and (N, C) vectors, in float32 at least."""
        logits, paths = student["logits"], step.paths[0]
        if not torch.is_tensor(logits) or logits.shape[1:] != (self.num_classes,):
            came = tuple(logits.shape) if torch.is_tensor(logits) else type(logits).__name__
            raise FeatureError(
                f"{key}: expected class logits (N, {self.num_classes}) from the tap logits, got "
                f"{came}; tap the classifier layer, such as 'head.fc'"
            )
        where = f"{key}, tap 'middle' ({paths['middle']!r})"
        vector = image_vector(student["middle"], step.task.leading_tokens(step.student), where)
        if vector.shape[1] != self.weak_head.in_features:
            raise FeatureError(
                f"{where}: expected {self.weak_head.in_features} channels, as student_channels "
                f"says, got {vector.shape[1]}; leave the option out, the model tells it"
            )
        return widened(logits), widened(vector)

    def terms(self, logits: Tensor, vector: Tensor, label: Tensor) -> Dict[str, Tensor]:
        """The loss as ``loss``, its parts, and what they are made of.

        Args:
            logits: (N, K).
            vector: (N, C), m.
            label: (N,) whole numbers, or (N, K) soft.
        """
        targets = targets_of(label, logits)
        log_probabilities = torch.log_softmax(logits, dim=1)
        probabilities = log_probabilities.exp()
        weak = torch.log_softmax(self.weak_head(vector), dim=1)
        pi = target_weights(probabilities, targets)
        ranked = log_probabilities if self.rank_with == "log_prob" else probabilities
        zipf: Any = self.zipf
        labels = zipf_labels(ranked, weak.exp(), targets.mask, zipf)
        smooth = (1 - SMOOTHED) * targets.label + SMOOTHED / self.num_classes
        target = -(pi * log_probabilities.gather(1, targets.classes)).sum(dim=1).mean()
        nontarget = cross_entropy_without(logits, targets.mask, labels)
        of_weak = -self.mu * (smooth * weak).sum(dim=1).mean()
        return dict(
            loss=self.loss_weight * (self.alpha * target + self.beta * nontarget + of_weak),
            target=target, nontarget=nontarget, weak=of_weak, pi=pi, labels=labels,
        )  # fmt: skip

    def forward(self, student: Mapping[str, Any], teacher: Any, step: Step) -> Tensor:
        """A scalar, ``loss_weight`` included; in float32 at least, also under autocast.

        Args:
            student: ``logits`` (N, K), and ``middle``: a map, tokens or a vector.
            teacher: None.
            step: with the labels, hard or soft.

        Raises:
            FeatureError: they are no such things.
        """
        logits, vector = self._inputs(student, step, "uskd")
        with torch.autocast(device_type=logits.device.type, enabled=False):
            vector = vector.to(self.weak_head.weight.dtype)
            return self.terms(logits, vector, labels_in(step, "uskd"))["loss"]

    def extra_repr(self) -> str:
        return (
            f"alpha={self.alpha:g}, beta={self.beta:g}, mu={self.mu:g}, "
            f"rank_with={self.rank_with!r}, loss_weight={self.loss_weight:g}"
        )


def golden(case: Case) -> Outcome:
    """The reference's numbers, see :class:`freekd.losses.card.Case`."""
    options, label = case.options, case.inputs["label"]
    if (label.dim() == 2) != (options["label_kind"] == "soft"):
        raise ValueError(f"label_kind={options['label_kind']}, but labels {tuple(label.shape)}")
    channels = dict(logits=int(options["num_classes"]), middle=int(options["channel"]))
    weights = {name: float(options[name]) for name in ("alpha", "beta", "mu")}
    logits, vector = case.inputs["student"], case.inputs["student_mid"]
    found = []
    for rank_with in RANKS:
        loss = USKDLoss(channels, rank_with=rank_with, **weights).to(logits.dtype)
        with torch.no_grad():
            loss.weak_head.weight.copy_(case.parameters["weak_head_weight"])
            loss.weak_head.bias.copy_(case.parameters["weak_head_bias"])
        found.append((loss.weak_head, loss.terms(logits, vector, label)))
    (head, terms), (_, other) = found
    kept = ~targets_of(label, logits).mask
    outputs = dict(
        loss=terms["loss"],
        target_soft_label=terms["pi"],
        nontarget_soft_label=terms["labels"][kept].view(len(label), -1),
        loss_probability_rank=other["loss"],
    )
    return Outcome(outputs, dict(weak_head_weight=head.weight, weak_head_bias=head.bias))


def _hint(loss: USKDLoss) -> str:
    """The weights of the paper."""
    return (
        "the paper: alpha 1, beta 0.1, mu 0.005 for ImageNet, 0.1 each for CIFAR-100, whatever the "
        "ratio"
    )


def _published(pair: str, alone: float, distilled: float) -> Published:
    return Published(pair, "ImageNet top-1", alone, distilled, "ICCV 2023, authors' repository")


CARD = Card(
    name="uskd",
    title="USKD",
    summary="No teacher: the student's own probabilities and ranks, made into soft labels.",
    module=USKDLoss,
    paper=(
        "From Knowledge Distillation to Self-Knowledge Distillation: A Unified Approach with "
        "Normalized Loss and Customized Soft Labels, ICCV 2023, https://arxiv.org/abs/2303.13005"
    ),
    tasks=("cls",),
    taps=dict(cls=dict(logits="logits", middle="middle")),
    needs=("labels",),
    maps=False,
    hint=_hint,
    bundled=dict(cls=dict(uskd=Bundled("configs/uskd/resnet18_digits_cls.py", "USKD", "USKD"))),
    published=(
        _published("MobileNetV1 (not in mmcls 0.25)", 69.21, 70.38),
        _published("MobileNetV2", 71.86, 72.41),
        _published("ShuffleNetV2 1.0", 69.55, 70.30),
        _published("ResNet-18", 69.90, 70.79),
        _published("ResNet-50", 76.55, 77.07),
        _published("ResNet-101", 77.97, 78.54),
        _published("RegNetX-1.6GF", 76.84, 77.30),
        _published("Swin-T", 81.18, 81.49),
        _published("DeiT-T", 74.42, 74.97),
    ),
    golden=golden,
)
