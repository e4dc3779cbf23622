"""What the losses on class logits (N, K) have in common: what they are given, and its parts.

Logarithms of probabilities come from a log-softmax, those of 1 - p as the log-sum-exp of the other
classes: neither becomes -inf where the softmax rounds to 0 or 1.
"""

import math
from typing import Any, List, Optional, Sequence, Tuple

import torch
from torch import Tensor, nn

from freekd.checks import FeatureError

from .step import Step


def check_logits(
    student: Sequence[Any], teacher: Sequence[Any], key: str, fewest: int = 1
) -> Tuple[List[Tensor], List[Tensor]]:
    """What the taps of both models gave, as lists of one tensor (N, K) of the same shape.

    Args:
        student, teacher: what the tapped modules gave, in a list.
        key: the entry's name, for errors.
        fewest: how many classes there must be.

    Raises:
        FeatureError: one gives no class logits, or the numbers of classes (or images) differ; says
            what came from each.
    """
    for given, who in ((student, "student"), (teacher, "teacher")):
        if len(given) != 1 or not torch.is_tensor(given[0]) or given[0].dim() != 2:
            came = [tuple(x.shape) if torch.is_tensor(x) else type(x).__name__ for x in given[:3]]
            raise FeatureError(
                f"{key}: expected class logits (N, K) from the {who}'s tap, got "
                f"{', '.join(map(str, came))}; tap its classifier layer, such as 'head.fc'"
            )
    if student[0].shape != teacher[0].shape:
        raise FeatureError(
            f"{key}: expected logits of the same classes, got {tuple(student[0].shape)} from the "
            f"student and {tuple(teacher[0].shape)} from the teacher; take a teacher of the "
            "student's classes (num_classes of both heads)"
        )
    if student[0].shape[1] < fewest:
        raise FeatureError(
            f"{key}: expected logits of at least {fewest} classes, got {tuple(student[0].shape)}; "
            "it compares the classes that are not the label's. Remove the entry"
        )
    return list(student), list(teacher)


def labels_in(step: Optional[Step], key: str) -> Tensor:
    """The batch's labels, of the classes in the order of the tapped logits.

    Args:
        step: of this training step, see :attr:`freekd.losses.step.Step.class_order`.
        key: the entry's name, for errors.

    Returns:
        As they are in the batch: (N,), or (N, K) of Mixup, CutMix or smoothed.

    Raises:
        FeatureError: there are none; says what the batch has.
    """
    labels: Any = None if step is None else step.data.get("gt_label")
    if not torch.is_tensor(labels):
        has = "no batch" if step is None else f"a batch of {', '.join(sorted(step.data))}"
        raise FeatureError(
            f"{key}: expected the labels of the images, gt_label, got {has}; load them "
            "(ToTensor(keys=['gt_label']) in data.train.pipeline, and 'gt_label' in the keys of "
            "its Collect)"
        )
    order = None if step is None else step.class_order
    if order is None:
        return labels
    order = order.to(labels.device)
    return labels[:, order] if labels.dim() == 2 else torch.argsort(order)[labels]


def are_soft(labels: Tensor, shape: Sequence[int], key: str) -> bool:
    """Whether labels say how much of each class, (N, K), and not a class (N,) of each image.

    Args:
        labels: of the batch.
        shape: (N, K) of the logits.
        key: the entry's name, for errors.

    Raises:
        FeatureError: labels of another kind, or for other images or classes.
    """
    if tuple(labels.shape) == tuple(shape):
        return True
    if tuple(labels.shape) != (shape[0],) or labels.is_floating_point():
        raise FeatureError(
            f"{key}: expected labels ({shape[0]},) of whole numbers, or soft ones "
            f"{tuple(shape)}, for logits of the shape {tuple(shape)}; got {tuple(labels.shape)} "
            f"of {labels.dtype}. Correct gt_label, or num_classes"
        )
    return False


def hard_labels(labels: Tensor, shape: Sequence[int], key: str) -> Tensor:
    """One class for each image: as labelled, or the likeliest of a soft label.

    Args:
        labels, shape, key: see :func:`are_soft`, which checks them.

    Returns:
        (N,), int64.

    >>> hard_labels(torch.tensor([[0.1, 0.9], [0.6, 0.4]]), (2, 2), "mine").tolist()
    [1, 0]
    """
    return labels.argmax(dim=1) if are_soft(labels, shape, key) else labels.long()


def soft_cross_entropy(student: Tensor, teacher: Tensor, tau: float = 1.0) -> Tensor:
    """- sum_k softmax(t / tau)_k log softmax(s / tau)_k of each image, (N,).

    Args:
        student: logits (N, K).
        teacher: logits (N, K); no gradient flows into them.
        tau: temperature; there is no factor tau^2.

    >>> soft_cross_entropy(torch.zeros(2, 4), torch.zeros(2, 4))  # log 4
    tensor([1.3863, 1.3863])
    """
    soft_labels = torch.softmax(teacher.detach() / tau, dim=1)
    return -(soft_labels * torch.log_softmax(student / tau, dim=1)).sum(dim=1)


def at_label(values: Tensor, labels: Tensor) -> Tensor:
    """Of (N, K) values those of the label's class, (N,)."""
    return values.gather(1, labels[:, None])[:, 0]


def _is_label(values: Tensor, labels: Tensor) -> Tensor:
    return labels[:, None] == torch.arange(values.shape[1], device=values.device)


def log_of_rest(log_probabilities: Tensor, labels: Tensor) -> Tensor:
    """log(1 - p_y) of log p (N, K), as the log-sum-exp of the classes that are not y; (N,).

    >>> far = torch.log_softmax(torch.tensor([[200.0, 0.0, 0.0]]), 1)  # p_y rounds to 1
    >>> round(float(log_of_rest(far, torch.tensor([0]))), 3)  # log(2 exp(-200))
    -199.307
    """
    others = log_probabilities.masked_fill(_is_label(log_probabilities, labels), -math.inf)
    return torch.logsumexp(others, dim=1)


def log_softmax_of_rest(logits: Tensor, labels: Tensor) -> Tensor:
    """The log-softmax over the K - 1 classes that are not the label's.

    Args:
        logits: (N, K), K at least 2.
        labels: (N,).

    Returns:
        (N, K), 0 at the label's class, so that a sum of products with anything leaves it out.

    >>> log_softmax_of_rest(torch.tensor([[9.0, 1.0, 1.0]]), torch.tensor([0])).exp().tolist()
    [[1.0, 0.5, 0.5]]
    """
    label = _is_label(logits, labels)
    log_q = torch.log_softmax(logits.masked_fill(label, -math.inf), dim=1)
    return log_q.masked_fill(label, 0.0)


def softmax_of_rest(logits: Tensor, labels: Tensor) -> Tensor:
    """The softmax over the classes that are not the label's; (N, K), 0 at the label's class."""
    return torch.softmax(logits.masked_fill(_is_label(logits, labels), -math.inf), dim=1)


class LogitsLoss(nn.Module):
    """A loss on the logits of one classifier layer each of student and teacher; a base class.

    Attributes:
        method: the entry's name, for errors.
        fewest_classes: how many the logits must be of.
    """

    method = "logits"
    fewest_classes = 1

    def check_feats(
        self, student: Sequence[Any], teacher: Sequence[Any]
    ) -> Tuple[List[Tensor], List[Tensor]]:
        """See :func:`check_logits`."""
        return check_logits(student, teacher, self.method, self.fewest_classes)


class LabelledLogitsLoss(LogitsLoss):
    """One that also knows the class of each image; a base class."""

    fewest_classes = 2

    def value(self, student: Tensor, teacher: Tensor, labels: Tensor) -> Tensor:
        """The scalar, of logits (N, K) and labels (N,)."""
        raise NotImplementedError

    def forward(self, student: Tensor, teacher: Tensor, step: Step) -> Tensor:
        """A scalar, weights included; in float32 at least, also under autocast.

        Args:
            student, teacher: class logits (N, K) of the same classes. No gradient flows into the
                teacher's.
            step: of this training step: its labels. Of a soft label (Mixup, CutMix, smoothing) the
                likeliest class counts.

        Raises:
            FeatureError: no such logits, or no labels of them; says what came.
        """
        self.check_feats([student], [teacher])
        labels = hard_labels(labels_in(step, self.method), student.shape, self.method)
        with torch.autocast(device_type=student.device.type, enabled=False):
            return self.value(student, teacher, labels)
