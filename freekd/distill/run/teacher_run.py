"""The frozen teacher's part of a training step of stage 2."""

from contextlib import contextmanager
from typing import Any, Dict, Iterator, Optional, Sequence

import torch
from torch import Tensor, nn

from freekd import compat
from freekd.checks import check_choice
from freekd.distill.run.partial import PartialRun, roi_stage

AUTOCASTS = (None, "bfloat16", "float16")


class TeacherRun:
    """Runs a teacher without gradient, no further than the taps need, and in its own precision.

    Args:
        teacher: a detector or segmentor in evaluation mode.
        components: of the distiller.
        autocast: ``bfloat16`` or ``float16``: torch's autocast for the teacher alone; None: as the
            whole run (float32, or what ``fp16`` says).

    Attributes:
        partial: its tapped parts; where they cannot be run alone, the distiller runs it whole.
    """

    def __init__(
        self, teacher: nn.Module, components: Sequence[Any], autocast: Optional[str] = None
    ) -> None:
        self.teacher = teacher
        self.components = components
        self.autocast = autocast
        taps = [item for item in components if item.teacher_module is not None]
        self.partial = PartialRun(teacher, [item.teacher_module for item in taps])
        self._feats: Any = None

    def check_precision(self) -> None:
        """Before the first use.

        Raises:
            ValueError: an ``autocast`` for a teacher that can only be run whole, losses and all.
        """
        if self.autocast is None:
            return
        if not self.partial.possible:
            raise ValueError(
                f"distiller.teacher_autocast={self.autocast!r}: expected a teacher that can be run "
                f"in parts, but a tap of this {type(self.teacher).__name__} can only be reached by "
                "its whole forward, losses included. Remove the key, or tap neck or head"
            )
        compat.run_ops_in_float32()

    @property
    def precision(self) -> str:
        """In which the teacher computes: ``float32``, or what the run or its key says."""
        return self.autocast or compat.precision_of(self.teacher)

    @contextmanager
    def context(self, device: torch.device) -> Iterator[None]:
        """No gradient, and the precision asked for.

        Not torch's inference mode: its tensors cannot be saved for a backward pass, which losses
        that square a difference do (``docs/performance.md`` has what it would save).
        """
        if self.autocast is None:
            precision = compat.autocast_of(self.teacher, device.type)
        else:
            precision = torch.autocast(device.type, dtype=getattr(torch, self.autocast))
        with torch.no_grad(), precision:
            yield

    def features(self, img: Tensor, img_metas: Sequence[Dict[str, Any]]) -> Any:
        """Backbone, neck and dense heads; RoI heads wait for the student's proposals."""
        with self.context(img.device):
            self._feats = self.partial.features(img, img_metas)
        return self._feats

    def roi_heads(self, proposals: Dict[int, Tensor]) -> None:
        """The tapped RoI heads, each once, on the student's proposals.

        Args:
            proposals: (K, 5) per stage of the student's RoI head.

        Raises:
            RuntimeError: the student has no such proposals; names the component.
        """
        done = set()
        for i, component in enumerate(self.components):
            stage = roi_stage(component.teacher_module or "")
            if stage is None or stage in done:
                continue
            done.add(stage)
            student_stage = roi_stage(component.student_module)
            rois = None if student_stage is None else proposals.get(student_stage)
            if rois is None:
                raise RuntimeError(
                    f"distiller.components[{i}]: {component.teacher_module!r} wants the student's "
                    f"proposals, but {component.student_module!r} is in no RoI head that saw any; "
                    "tap the same part on both sides"
                )
            self.roi_head(self._feats, rois, stage)

    def roi_head(self, feats: Any, rois: Tensor, stage: int) -> None:
        """One RoI head, see :meth:`freekd.distill.run.partial.PartialRun.roi_head`."""
        if self.autocast is not None:  # mmcv's RoI ops want boxes and maps of one precision
            feats = compat.to_float32(feats)
        with self.context(rois.device):
            self.partial.roi_head(feats, rois, stage)

    def forget(self) -> None:
        """At the end of a step."""
        self._feats = None


def check_autocast(value: Any) -> None:
    """Raise ValueError unless ``value`` is one that :class:`TeacherRun` knows."""
    check_choice("distiller.teacher_autocast", value, AUTOCASTS)
