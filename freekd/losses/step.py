"""What a loss may need beyond its taps: the batch, its labels, the two models, their task."""

from typing import Any, List, Mapping, NamedTuple, Optional, Tuple

from torch import Tensor, nn


class DenseLevel(NamedTuple):
    """One pyramid level of two dense heads, and what the student's was assigned there.

    A row is an anchor, or a point; rows are in the order (h, w, A), with A = 1 for points.

    Args:
        student_classes, teacher_classes: logits (N, A K, h, w).
        student_boxes, teacher_boxes: deltas (N, A 4, h, w) on the anchors; without anchors, point
            sets (N, h w, 2P) in pixels, x before y.
        labels: (N, h w A): 0 to K - 1, or K, background.
        label_weights: (N, h w A).
        anchors: (N, h w A, 4) as x1, y1, x2, y2, or None.
    """

    student_classes: Tensor
    teacher_classes: Tensor
    student_boxes: Tensor
    teacher_boxes: Tensor
    labels: Tensor
    label_weights: Tensor
    anchors: Optional[Tensor] = None


class DenseTargets(NamedTuple):
    """All levels, and the number by which the student's head divides its own class loss."""

    levels: List[DenseLevel]
    avg_factor: float


class Step(NamedTuple):
    """One training step, as ``forward(student, teacher, step)`` of a loss gets it.

    It is made anew for each step and belongs to no module: nothing in it comes into a state dict
    or to an optimizer, unless the loss keeps it, which it must not.

    Args:
        data: the batch as the models get it: ``img``, ``img_metas`` and the task's annotations.
        student: the bare student, as the taps' paths name its parts.
        teacher: the bare teacher, frozen and in evaluation mode; None where there is none.
        task: of :mod:`freekd.tasks`, what only the host of the models knows: the targets that a
            dense head was assigned (:meth:`freekd.tasks.base.Task.dense_targets`), for instance.
        paths: of the tapped module in student and teacher; dicts where the taps are named; None in
            the teacher's place for a loss that takes none.
        class_order: where the models name the classes in another order and a tap is indexed by
            class, its channels come to the loss in the teacher's order: channel k of the student's
            is that of its class ``class_order[k]``. The batch's labels keep the student's order.
            None: the orders are one.
    """

    data: Mapping[str, Any]
    student: nn.Module
    teacher: Optional[nn.Module] = None
    task: Any = None
    paths: Tuple[Any, Any] = ("", "")
    class_order: Optional[Tensor] = None

    @property
    def labels(self) -> Any:
        """``gt_label`` (N,) of images, ``gt_semantic_seg`` (N, 1, H, W), or ``gt_labels`` of boxes.

        Raises:
            KeyError: the batch has none of these; names what it has.
        """
        for name in ("gt_label", "gt_semantic_seg", "gt_labels"):
            if name in self.data:
                return self.data[name]
        raise KeyError(f"the batch has no labels, only {sorted(self.data)}")
