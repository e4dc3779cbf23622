"""``IoUAwareLoss``: the classes of a dense head, weighted by how far both models' boxes agree.

FourierKD's class loss. For a row p (an anchor or a point) and a class k, with the logits s and t:

    y = [label_p is a class] IoU(box_s, box_t)_p sigmoid(t),
    f = y where y > 0, else alpha sigmoid(s)^gamma,
    L = lambda sum_levels sum_p weight_p sum_k f BCE(s, y) / (avg_factor + eps).

``y`` is 0 in all rows but the few positive ones. So boxes, IoUs and the teacher's classes are
looked at in these rows only; elsewhere a term is alpha sigmoid(s)^gamma softplus(s), whose gradient
is known in closed form, and of which nothing is kept for the backward pass.
"""

from typing import Any, Dict, Iterator, List, Mapping, Optional, Sequence, Tuple

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from freekd.checks import FeatureError, check_weight
from freekd.widen import widened

from .boxes import aligned_iou, decode_boxes, points_to_boxes
from .card import Bundled, Card, Case, Outcome
from .step import DenseLevel, DenseTargets, Step

EPS = 1.1920929e-07  # of float32, beside avg_factor


def iou_targets(level: DenseLevel, rows: Tensor) -> Tensor:
    """y of the given rows, IoU times the teacher's probability of each class; no gradient.

    Args:
        level: maps of both heads and their boxes.
        rows: (N, h, w, A), True where a row is asked for.

    Returns:
        (n, K), in float32 at least.
    """
    with torch.no_grad():
        boxes = []
        for given in (level.student_boxes, level.teacher_boxes):
            if level.anchors is None:
                boxes.append(points_to_boxes(widened(given[rows.flatten(1)])))
            else:
                anchors = widened(level.anchors[rows.flatten(1)])
                boxes.append(decode_boxes(anchors, widened(_rows(given, rows))))
        return aligned_iou(*boxes)[:, None] * widened(_rows(level.teacher_classes, rows)).sigmoid()


def positive_rows(level: DenseLevel) -> Tensor:
    """(N, h, w, A): where a row's label is one of the classes."""
    count, channels, height, width = level.student_classes.shape
    anchors = level.labels.numel() // (count * height * width)
    labels = level.labels.view(count, height, width, anchors)
    return (labels >= 0) & (labels < channels // anchors)


def iou_aware_loss(
    levels: Sequence[DenseLevel], avg_factor: float, alpha: float = 0.75, gamma: float = 2.0
) -> Tensor:
    """The equation above, with lambda = 1. Gradient reaches the student's class maps only.

    Args:
        levels: of both heads, with the labels of the student's.
        avg_factor: what the student's head divides its own class loss by.
        alpha, gamma: weight and exponent of the terms whose y is 0.

    Returns:
        A scalar, in float32 at least. It can be differentiated once.
    """
    sums: List[Tensor] = []
    for level in levels:
        positive = positive_rows(level)
        weights = widened(level.label_weights).view(positive.shape)
        target = iou_targets(level, positive)
        sums.append(
            _LevelSum.apply(  # type: ignore[no-untyped-call]
                level.student_classes, target, positive, weights, alpha, gamma
            )
        )
    return torch.stack(sums).sum() / (avg_factor + EPS)


def _by_row(maps: Tensor, anchors: int) -> Tensor:
    """A view (N, h, w, A, C) of maps (N, A C, h, w)."""
    count, _, height, width = maps.shape
    return maps.view(count, anchors, -1, height, width).permute(0, 3, 4, 1, 2)


def _rows(maps: Tensor, rows: Tensor) -> Tensor:
    """The rows (n, C) of maps (N, A C, h, w) where ``rows`` (N, h, w, A) is True."""
    return _by_row(maps, rows.shape[3])[rows]


def _pieces(maps: Tensor, weights: Tensor) -> Iterator[Tuple[Tensor, Tensor]]:
    """An image's map (A, K, h, w) and weights (A, h, w) at a time; on a CPU those of one anchor."""
    _, height, width, anchors = weights.shape
    each = 1 if maps.device.type == "cpu" else anchors
    for image, weight in zip(maps, weights.permute(0, 3, 1, 2)):
        by_anchor = image.view(anchors, -1, height, width)
        yield from zip(by_anchor.split(each), weight.split(each))


class _LevelSum(torch.autograd.Function):
    """sum_p weight_p sum_k f BCE(s, y) of one level, y being given in the positive rows.

    With p = sigmoid(s) the gradient of a term is y (p - y) where y > 0, and else
    alpha p^gamma (gamma (1 - p) softplus(s) + p). Computed anew from s, a piece of the map at a
    time, it costs a second sigmoid and saves a copy of the maps for each of the factors.
    """

    @staticmethod
    def forward(
        ctx: Any,
        logits: Tensor,
        target: Tensor,
        positive: Tensor,
        weights: Tensor,
        alpha: float,
        gamma: float,
    ) -> Tensor:
        """``logits`` (N, A K, h, w), ``target`` (n, K), ``positive``, ``weights`` (N, h, w, A)."""
        ctx.save_for_backward(logits, target, positive, weights)
        ctx.alpha, ctx.gamma = alpha, gamma
        sums = [
            (_background(widened(piece), alpha, gamma).sum(1) * weight).sum()
            for piece, weight in _pieces(logits, weights * ~positive)
        ]
        rows = widened(_rows(logits, positive))
        matched = target * F.binary_cross_entropy_with_logits(rows, target, reduction="none")
        terms = torch.where(target > 0, matched, _background(rows, alpha, gamma))
        return torch.stack([*sums, (terms * weights[positive][:, None]).sum()]).sum()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> Tuple[Optional[Tensor], None, None, None, None, None]:
        logits, target, positive, weights = ctx.saved_tensors
        out, weights = torch.empty_like(logits), grad * weights
        pieces = _pieces(logits, weights), _pieces(out, weights)
        for (piece, weight), (place, _) in zip(*pieces):
            slope = _background_slope(widened(piece), ctx.alpha, ctx.gamma)
            place.copy_(slope.mul_(weight[:, None]))
        rows = widened(_rows(logits, positive))
        matched = target * (rows.sigmoid() - target)
        slope = torch.where(target > 0, matched, _background_slope(rows, ctx.alpha, ctx.gamma))
        slope = slope * weights[positive][:, None]
        _by_row(out, positive.shape[3])[positive] = slope.to(out.dtype)
        return out, None, None, None, None, None


def _background(s: Tensor, alpha: float, gamma: float) -> Tensor:
    """A term whose y is 0."""
    return s.sigmoid().pow_(gamma).mul_(F.softplus(s)).mul_(alpha)


def _background_slope(s: Tensor, alpha: float, gamma: float) -> Tensor:
    p = s.sigmoid()
    slope = F.softplus(s).mul_(1 - p).mul_(gamma).add_(p)
    return slope.mul_(p.pow_(gamma)).mul_(alpha)


class IoUAwareLoss(nn.Module):
    """FourierKD's class loss between two dense heads of one kind, see the module's equation.

    It is for heads with anchors (RetinaNet, the RPN of a two-stage detector) and for RepPoints,
    whose teacher has the same anchors (or strides) and classes. Labels and their weights are those
    of the student head's own assignment, which is asked once more. So a head that samples (an RPN)
    draws other rows here than for its own loss, by the same rule. The sum is divided by the number
    that the head divides its own class loss by: of positive rows, or of all sampled ones.

    Args:
        loss_weight: lambda. FourierKD's configs have 1.5.
        alpha: weight of the terms without a target.
        gamma: their exponent.

    Raises:
        ValueError: a value of another kind; names the key.
    """

    takes_output = True  # forward gets what the heads gave, as it is
    widens = True

    @staticmethod
    def check_options(options: Mapping[str, Any], key: str) -> None:
        """What a config says, by its config keys; raises ValueError."""
        for name in ("loss_weight", "alpha", "gamma"):
            if name in options:
                check_weight(f"{key}.{name}", options[name])

    def __init__(self, loss_weight: float = 1.0, alpha: float = 0.75, gamma: float = 2.0) -> None:
        super().__init__()
        for name, value in (("loss_weight", loss_weight), ("alpha", alpha), ("gamma", gamma)):
            check_weight(name, value)
        self.loss_weight = loss_weight
        self.alpha = alpha
        self.gamma = gamma

    def check_models(self, step: Step, key: str) -> None:
        """Before training: the tapped heads are of a known kind, and alike.

        Args:
            step: without a batch.
            key: the config key of the entry.

        Raises:
            ValueError: they are not; says what each is.
        """
        step.task.check_dense_heads(step, key)

    def check_feats(self, student: Any, teacher: Any) -> Tuple[List[Tensor], List[Tensor]]:
        """The class maps of both heads' outputs, of one shape in each level.

        Raises:
            FeatureError: they are none, or differ; says both.
        """
        sides = [_class_maps(output) for output in (student, teacher)]
        shapes = [[tuple(level.shape) for level in side] for side in sides]
        if not shapes[0] or shapes[0] != shapes[1]:
            raise FeatureError(
                "IoUAwareLoss: expected class maps (N, A K, h, w) of the same shapes from both "
                f"heads, got {shapes[0]} from the student and {shapes[1]} from the teacher; tap "
                "heads of one kind behind necks of the same strides"
            )
        return sides[0], sides[1]

    def forward(self, student: Any, teacher: Any, step: Step) -> Tensor:
        """A scalar, ``loss_weight`` included; float32 also under autocast.

        Args:
            student, teacher: what the heads gave: lists of maps, one per level, classes first.
            step: of this training step, with the ground truth.

        Raises:
            FeatureError: class maps of other shapes.
        """
        self.check_feats(student, teacher)
        targets: DenseTargets = step.task.dense_targets(step, student, teacher)
        with torch.autocast(device_type=student[0][0].device.type, enabled=False):
            value = iou_aware_loss(targets.levels, targets.avg_factor, self.alpha, self.gamma)
        return self.loss_weight * value

    def extra_repr(self) -> str:
        return f"loss_weight={self.loss_weight:g}, alpha={self.alpha:g}, gamma={self.gamma:g}"


def _class_maps(output: Any) -> List[Tensor]:
    first = output[0] if isinstance(output, (list, tuple)) and output else None
    maps = list(first) if isinstance(first, (list, tuple)) else []
    return maps if all(torch.is_tensor(m) and m.dim() == 4 for m in maps) else []


def golden(case: Case) -> Outcome:
    """The reference's numbers, see :class:`freekd.losses.card.Case`."""
    given = case.inputs
    count = 1 + max(int(name.rsplit("_", 1)[1]) for name in given)
    levels: List[DenseLevel] = []
    boxes = "box" if case.options["method"] == "AnchorBased" else "points"
    for i in range(count):
        levels.append(
            DenseLevel(
                given[f"student_cls_{i}"],
                given[f"teacher_cls_{i}"],
                given[f"student_{boxes}_{i}"],
                given[f"teacher_{boxes}_{i}"],
                given[f"label_{i}"],
                given[f"label_weight_{i}"],
                given[f"anchor_{i}"] if boxes == "box" else None,
            )
        )
    value = case.options["loss_weight"] * iou_aware_loss(levels, case.options["avg_factor"])
    # the student's boxes get no gradient at all; the file has zeros for them
    untouched = torch.stack([0 * level.student_boxes.sum() for level in levels]).sum()
    outputs: Dict[str, Any] = dict(loss=value + untouched)
    for i, level in enumerate(levels):
        positive = positive_rows(level)
        target = iou_targets(level, positive)
        rows = target.new_zeros(positive.numel(), target.shape[1])
        rows[positive.flatten()] = target
        outputs[f"target_{i}"] = rows
    return Outcome(outputs)


CARD = Card(
    name="iou_aware",
    title="FourierKD's class loss",
    summary="A dense head's classes, weighted by the IoU of both models' boxes; heads of one kind.",
    module=IoUAwareLoss,
    paper="Knowledge Distillation in Fourier Frequency Domain for Dense Prediction, IEEE SPL 2024",
    tasks=("det",),
    taps=dict(det="dense_head"),
    defaults=dict(loss_weight=1.5),
    needs=("labels",),
    maps=False,
    bundled=dict(
        det=dict(
            iou_aware=Bundled(
                "configs/iou_aware/retinanet_r34_r18_digits.py",
                "FourierKD's class loss (IoU-aware)",
                "IoU-aware",
            )
        )
    ),
    golden=golden,
)
