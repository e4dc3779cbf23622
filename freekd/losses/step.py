"""What a loss may need beyond its taps: the batch, its labels, the two models."""

from typing import Any, Mapping, NamedTuple, Optional

from torch import nn


class Step(NamedTuple):
    """One training step, as ``forward(student, teacher, step)`` of a loss gets it.

    It is made anew for each step and belongs to no module: nothing in it comes into a state dict
    or to an optimizer, unless the loss keeps it, which it must not.

    Args:
        data: the batch as the models get it: ``img``, ``img_metas`` and the task's annotations.
        student: the bare student, as the taps' paths name its parts.
        teacher: the bare teacher, frozen and in evaluation mode; None where there is none.
    """

    data: Mapping[str, Any]
    student: nn.Module
    teacher: Optional[nn.Module] = None

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
