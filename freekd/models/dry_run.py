"""Before training: one blank image through student and teacher, to see whether the taps match."""

from typing import Any, Dict, List

import torch
from mmcv.utils import print_log
from torch import nn

from .components import check_calls, check_shapes
from .partial import PartialRun


@torch.no_grad()
def dry_run(
    distiller: Any, student: nn.Module, of_student: PartialRun, size: int = 128
) -> Dict[str, List[str]]:
    """Run the tapped parts of both models and check what they give.

    Weights, norm statistics, random generators and training flags stay as they are.

    Args:
        distiller: a ``FreeKDDistiller`` whose hooks are in place.
        student: the bare student.
        of_student: its tapped parts.
        size: of the image, in pixels.

    Returns:
        For each loss a line per level with the student's and the teacher's shape; nothing where a
        model cannot be run in parts.

    Raises:
        ValueError: levels, channels, sizes or classes do not match; names the component.
    """
    of_teacher = distiller.teacher_run  # in its own precision, as in a training step
    if not (of_student.possible and of_teacher.partial.possible):
        print_log(
            "the tapped parts of student or teacher cannot be run alone: the whole teacher runs in "
            "each step, and shapes are checked in the first one",
            logger="root",
        )
        return {}
    img = next(student.parameters()).new_zeros((1, 3, size, size))
    rois = img.new_tensor([[0.0, 0.0, 0.0, size / 2, size / 2]])
    modes = [(module, module.training) for module in student.modules()]
    outputs = distiller.student_outputs, distiller.teacher_outputs
    for recorded in outputs:
        distiller.reset_outputs(recorded)
    student.eval()
    distiller.recording = True
    try:
        for run, stages in (
            (of_student, of_student.stages),
            (of_teacher, of_teacher.partial.stages),
        ):
            metas = [dict(img_shape=(size, size, 3), pad_shape=(size, size, 3))]
            feats = run.features(img, metas)
            for stage in stages:
                run.roi_head(feats, rois, stage)
        return _check(distiller)
    finally:
        distiller.recording = False
        for module, mode in modes:
            module.training = mode
        for recorded in outputs:
            distiller.reset_outputs(recorded)


def _check(distiller: Any) -> Dict[str, List[str]]:
    found: Dict[str, List[str]] = {}
    for i, component in enumerate(distiller.components):
        where = f"distiller.components[{i}]"
        students = distiller.student_outputs[component.student_module]
        teachers = distiller.teacher_outputs[component.teacher_module]
        check_calls(students, teachers, component, where)
        for loss in component.losses:
            module = distiller.losses[loss.name]
            found[loss.name] = [
                line
                for s_out, t_out in zip(students, teachers)
                for line in check_shapes(module, s_out, t_out, component, where)
            ]
    return found
